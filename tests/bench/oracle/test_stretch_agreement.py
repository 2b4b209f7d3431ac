"""Compare boxes of stretched pictures with OpenCV's DetectionModel and with the fork's own rule.

The photographs of client/photos, and the authors' yolov3-tiny where REAL_MODELS has it; a network
with random weights needs nothing.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.oracle.networks import write_cfg
from bench.oracle.opencv import write_for_opencv
from bench.oracle.photos import PHOTOS
from bench.oracle.random_weights import SEED, write_random_weights
from client.truth import iou
from elastic_yolo.detector.boxes import CLASS, SCORE, Detection, Floats, Pixels, name_detections
from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.engines.choose import EngineOptions
from elastic_yolo.detector.loading import load_detector
from elastic_yolo.detector.placement import Placement, resize_exactly
from tests.support.real_models import real_model

PICTURES = sorted(PHOTOS.glob("*.jpg"))
THRESHOLD = 0.3
IOU = 0.45
PIXELS = 1.0
SCORES = 0.01
# The fork's C code samples between the corner pixels, OpenCV between the edges of the picture: up
# to half a network pixel apart, which moves the score of one small person by 0.134.
FORK_SURE = 0.5
FORK_SCORES = 0.15
FORK_OVERLAP = 0.85

Found = tuple[int, float, tuple[float, float, float, float]]
"""Class index, score, and (left, top, width, height) in pixels of the picture."""


def load_stretching(folder: Path) -> Detector:
    return load_detector(folder, EngineOptions(threads=1, precision="fp32"), resize="stretch")[0]


@pytest.fixture(scope="module")
def tiny() -> Detector:
    """The authors' yolov3-tiny."""
    return load_stretching(real_model("yolov3-tiny"))


@pytest.fixture(scope="module")
def random_tiny(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    """yolov4-tiny with random weights; its input is wider than high."""
    folder = tmp_path_factory.mktemp("random")
    cfg = write_cfg("yolov4-tiny", folder, (416, 288))
    write_random_weights(cfg, folder / "yolov4-tiny.weights", SEED)
    (folder / "yolov4-tiny.names").write_text("\n".join(f"class {n}" for n in range(80)))
    return load_stretching(folder)


def detect_with_opencv(
    detector: Detector, weights: Path, pixels: Pixels, threshold: float, nms: float
) -> list[Found]:
    """Return what cv2.dnn.DetectionModel detects in (h, w, 3) BGR pixels; `nms` 0 turns it off."""
    model = cv2.dnn.DetectionModel(
        cv2.dnn.readNetFromDarknet(str(detector.model.cfg), str(weights))
    )
    model.setInputParams(size=detector.network_size, scale=1 / 255, swapRB=True)
    classes, scores, boxes = model.detect(pixels, threshold, nms)
    return [
        (int(number), float(score), (float(x), float(y), float(w), float(h)))
        for number, score, (x, y, w, h) in zip(classes, scores, boxes, strict=True)
    ]


def as_opencv_reports(rows: Floats, width: int, height: int) -> list[Found]:
    """Return (k, 6) rows in picture pixels as DetectionModel reports them.

    It keeps one class of a box, truncates to whole pixels, and cuts boxes off at the picture's
    edges (OpenCV 4, `modules/dnn/src/model.cpp`, DetectionModel::detect).
    """
    found: dict[bytes, Found] = {}
    for row in rows:
        w, h = int(row[2] - row[0]), int(row[3] - row[1])
        centre = (row[0] + row[2]) / 2, (row[1] + row[3]) / 2
        left, top = int(centre[0]) - w // 2, int(centre[1]) - h // 2
        right, bottom = left + w, top + h
        x, y = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
        box = (x, y, max(1, min(w, width - x)), max(1, min(h, height - y)))
        assert right >= left and bottom >= top  # noqa: PT018
        # Rows come best score first: the first one of a box is its best class.
        found.setdefault(row[:4].tobytes(), (int(row[CLASS]), float(row[SCORE]), box))
    return list(found.values())


def unmatched(ours: list[Found], theirs: list[Found], threshold: float) -> list[Found]:
    """Return the detections of either side that the other side lacks.

    One whose score is within SCORES of the threshold may be missing.
    """

    def agree(one: Found, other: Found) -> bool:
        return (
            one[0] == other[0]
            and abs(one[1] - other[1]) <= SCORES
            and all(abs(a - b) <= PIXELS for a, b in zip(one[2], other[2], strict=True))
        )

    left, lonely = list(theirs), []
    for found in ours:
        twin = next((other for other in left if agree(found, other)), None)
        if twin is not None:
            left.remove(twin)
        elif found[1] > threshold + SCORES:
            lonely.append(found)
    return lonely + [other for other in left if other[1] > threshold + SCORES]


def read_bgr(photo: Path) -> Pixels:
    """Return (h, w, 3) uint8."""
    return np.asarray(cv2.imread(str(photo)), np.uint8)


def rows_of(
    detector: Detector, photo: Path, threshold: float, overlap: float, *, exact: bool
) -> Floats:
    """Return the detections in a file, (k, 6) in picture pixels, best score first."""
    image, place = detector.prepare(photo.read_bytes(), exact=exact)
    found = detector.postprocess(detector.execute(image[np.newaxis]), threshold, overlap)
    return place.to_picture(found[0])


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("photo", PICTURES, ids=lambda path: path.stem)
def test_stretched_boxes_of_yolov3_tiny_are_opencvs(
    tiny: Detector, photo: Path, exact: bool
) -> None:
    """1 px, which OpenCV's whole pixels need, and a score of 0.01; measured: below 0.0001."""
    pixels = read_bgr(photo)
    theirs = detect_with_opencv(tiny, tiny.model.weights_file, pixels, THRESHOLD, IOU)
    rows = rows_of(tiny, photo, THRESHOLD, IOU, exact=exact)

    ours = as_opencv_reports(rows, pixels.shape[1], pixels.shape[0])

    assert theirs
    assert unmatched(ours, theirs, THRESHOLD) == []


@pytest.mark.parametrize("photo", PICTURES[:2], ids=lambda path: path.stem)
def test_stretched_boxes_of_random_weights_are_opencvs(random_tiny: Detector, photo: Path) -> None:
    """All boxes before suppression: with random weights, which of two is better is chance."""
    # Below this threshold there are more than nms.MOST_CANDIDATES.
    pixels, threshold = read_bgr(photo), 0.65
    weights = write_for_opencv(random_tiny.model.network, random_tiny.model.weights_file)
    theirs = detect_with_opencv(random_tiny, weights, pixels, threshold, 0)
    rows = rows_of(random_tiny, photo, threshold, 1, exact=True)

    ours = as_opencv_reports(rows, pixels.shape[1], pixels.shape[0])

    assert len(theirs) > 200
    assert unmatched(ours, theirs, threshold) == []


def test_a_letterbox_is_not_what_opencv_detects(tiny: Detector) -> None:
    """The two rules differ by far more than the tolerance, or this module would compare nothing."""
    pixels = read_bgr(PHOTOS / "dog.jpg")
    theirs = detect_with_opencv(tiny, tiny.model.weights_file, pixels, THRESHOLD, IOU)
    letterboxed = Detector(replace(tiny.model, resize="letterbox"), tiny.engine)
    rows = rows_of(letterboxed, PHOTOS / "dog.jpg", THRESHOLD, IOU, exact=True)

    ours = as_opencv_reports(rows, pixels.shape[1], pixels.shape[0])

    assert len(unmatched(ours, theirs, THRESHOLD)) >= 5


@pytest.mark.parametrize("photo", PICTURES, ids=lambda path: path.stem)
def test_stretched_boxes_are_those_of_the_forks_rule(tiny: Detector, photo: Path) -> None:
    """For boxes of score 0.5 and more; its resize_image is resize_exactly to the whole input."""
    pixels = np.ascontiguousarray(read_bgr(photo)[:, :, ::-1])
    place = Placement.fit((pixels.shape[1], pixels.shape[0]), tiny.model.input_format)
    image = resize_exactly(pixels, place.network)
    rows = tiny.postprocess(tiny.execute(image[np.newaxis]), 0.2, IOU)[0]
    theirs = name_detections(place.to_picture(rows), tiny.model.labels)

    ours = tiny.detect(photo.read_bytes(), 0.2, IOU)

    assert lacking(ours, theirs) == lacking(theirs, ours) == []
    assert any(one.score >= FORK_SURE for one in theirs)


def lacking(found: list[Detection], others: list[Detection]) -> list[Detection]:
    """Return the sure detections that have no counterpart among the others."""
    return [
        one
        for one in found
        if one.score >= FORK_SURE
        and not any(
            one.label == other.label
            and abs(one.score - other.score) <= FORK_SCORES
            and iou(list(one.box), list(other.box)) >= FORK_OVERLAP
            for other in others
        )
    ]


def test_a_large_jpeg_loses_little_by_reduced_decoding(tiny: Detector) -> None:
    """dog.jpg at four times its size: the default decodes a half of it, `exact` every pixel."""
    pixels = cv2.resize(read_bgr(PHOTOS / "dog.jpg"), None, fx=4, fy=4)
    data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()

    default, exact = (tiny.detect(data, 0.5, IOU, exact=exact) for exact in (False, True))

    assert len(exact) >= 3
    assert [one.label for one in default] == [one.label for one in exact]
    for one, other in zip(default, exact, strict=True):
        assert abs(one.score - other.score) <= 0.1
        assert iou(list(one.box), list(other.box)) >= 0.9
