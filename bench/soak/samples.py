"""The pictures of a soak, and the detections that each version of the model must find in them.

The library computes them from the files, apart from the services.
"""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from elastic_yolo.detector.boxes import CLASS, COLUMNS, SCORE, Detection, name_detections
from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.engines.choose import EngineOptions
from elastic_yolo.detector.fusion import fuse
from elastic_yolo.picture.agreement import LabelledBox, first_difference

# Streams and batches round differently: pixels of a box, and a score.
_PIXELS = 2.0
_SCORE = 0.02
_TYPES = {".jpg": "image/jpeg", ".png": "image/png", ".webp": "image/webp", ".bmp": "image/bmp"}
# Upright and turned, in each format, small to large.
_FILES = (
    "scene-01.jpg",
    "scene-04.png",
    "scene-07.webp",
    "scene-15.webp",
    "scene-08.jpg",
    "scene-10.bmp",
)
_SIZES = ((1920, 1440, "JPEG", "image/jpeg"), (320, 240, "PNG", "image/png"))


@dataclass(frozen=True)
class Query:
    """The parameters of a request that change its detections."""

    threshold: float | None = None
    iou: float | None = None
    ensemble: bool = False

    def text(self, ensemble: str) -> str:
        """Return the query string; `ensemble` is the value of `model` for one."""
        parts = [f"{name}={getattr(self, name)}" for name in ("threshold", "iou")]
        found = [part for part in parts if not part.endswith("=None")]
        if self.ensemble:
            found.append(f"model={ensemble.replace('+', '%2B')}")
        return "?" + "&".join(found) if found else ""


_QUERIES = (Query(), Query(0.1), Query(0.75), Query(0.3, 0.9))


@dataclass(frozen=True)
class Sample:
    """A picture file, and its detections by query and version of the model."""

    name: str
    content: bytes
    media_type: str
    expected: Mapping[Query, Mapping[str, Sequence[LabelledBox]]]

    def is_right(self, query: Query, body: bytes) -> bool:
        """Return whether a response of web has the detections of the version that it names."""
        try:
            answer = json.loads(body)
            version, data = answer["model"]["version"], answer["data"]
            expected = self.expected[query].get(version)
            if expected is None or answer["success"] != "true":
                return False
            return first_difference(expected, data, px=_PIXELS, score=_SCORE) is None
        except (ValueError, KeyError, TypeError, IndexError):
            return False


def make_samples(pictures: Path, model: Path, labels: Mapping[str, str]) -> list[Sample]:
    """Return the samples of a folder of scenes.

    `labels` has, by version of the model, what stands in front of each label. An ensemble is the
    version and the model itself.
    """
    detector = Detector.load(model, EngineOptions(threads=1, precision="fp32"))
    samples = [
        Sample(name, content, kind, _expect(detector, content, labels))
        for name, content, kind in _files(pictures)
    ]
    # The others would be drawn with or without a box.
    return [sample for sample in samples if Query() in sample.expected]


@dataclass(frozen=True)
class TensorSample:
    """A picture as input of the network, and the rows that the network must find in it."""

    pixels: NDArray[np.uint8]
    """(1, height, width, 3)."""
    rows: NDArray[np.float32]
    """(k, 6)."""
    labels: Mapping[str, Sequence[str]]
    """By version of the model."""

    def is_right(self, body: bytes) -> bool:
        """Return whether a JSON response of inference has the rows and its version's labels."""
        try:
            answer = json.loads(body)
            outputs = {one["name"]: one["data"] for one in answer["outputs"]}
            rows = np.array(outputs["detections"], np.float32).reshape(-1, COLUMNS)
            labels = self.labels[answer["model_version"]]
            named = answer["parameters"]["labels"].items()
            return (
                rows.shape == self.rows.shape
                and bool(np.allclose(rows[:, :SCORE], self.rows[:, :SCORE], atol=_PIXELS, rtol=0))
                and bool(np.allclose(rows[:, SCORE], self.rows[:, SCORE], atol=_SCORE, rtol=0))
                and bool((rows[:, CLASS] == self.rows[:, CLASS]).all())
                and all(labels[int(number)] == label for number, label in named)
            )
        except (ValueError, KeyError, TypeError, IndexError):
            return False


def make_tensor(content: bytes, model: Path, labels: Mapping[str, str]) -> TensorSample:
    """Return a picture file as a tensor; `labels` are those of `make_samples`."""
    detector = Detector.load(model, EngineOptions(threads=1, precision="fp32"))
    image, _ = detector.prepare(content)
    pixels = np.asarray(image[np.newaxis], np.uint8)
    rows = detector.postprocess(
        detector.execute(pixels), detector.model.threshold, detector.model.iou
    )[0]
    own = detector.model.labels
    return TensorSample(
        pixels, rows, {version: [pre + one for one in own] for version, pre in labels.items()}
    )


def _files(folder: Path) -> list[tuple[str, bytes, str]]:
    files = [(name, (folder / name).read_bytes(), _TYPES[Path(name).suffix]) for name in _FILES]
    scene = Image.open(folder / _FILES[0])
    for width, height, form, kind in _SIZES:
        target = io.BytesIO()
        scene.resize((width, height)).save(target, form)
        files.append((f"{width}x{height} {form}", target.getvalue(), kind))
    return files


def _expect(
    detector: Detector, content: bytes, labels: Mapping[str, str]
) -> dict[Query, dict[str, list[LabelledBox]]]:
    """Return the detections by query and version, without queries whose result rounding decides."""
    image, place = detector.prepare(content)
    outputs = detector.execute(image[np.newaxis])

    def detect(threshold: float, iou: float) -> list[Detection]:
        rows = detector.postprocess(outputs, threshold, iou)[0]
        return name_detections(place.to_picture(rows), detector.model.labels)

    expected, own = {}, detector.model.version
    for query in _QUERIES:
        threshold = detector.model.threshold if query.threshold is None else query.threshold
        iou = detector.model.iou if query.iou is None else query.iou
        found = detect(threshold, iou)
        near = [len(detect(threshold + change, iou)) for change in (-_SCORE, _SCORE)]
        if near != [len(found), len(found)]:
            continue
        relabelled = {version: _relabel(found, prefix) for version, prefix in labels.items()}
        expected[query] = {version: _boxes(boxes) for version, boxes in relabelled.items()}
        if query == Query():
            expected[Query(ensemble=True)] = {
                f"{version}+{own}": _boxes(fuse([boxes, found]))
                for version, boxes in relabelled.items()
            }
    return expected


def _relabel(found: list[Detection], prefix: str) -> list[Detection]:
    return [Detection(prefix + one.label, one.score, one.box) for one in found]


def _boxes(found: list[Detection]) -> list[LabelledBox]:
    return [(one.label, one.score, one.box) for one in found]


def broken_pictures(samples: Sequence[Sample]) -> list[tuple[bytes, str]]:
    """Return files that are no whole pictures, with the media types that they claim."""
    jpeg = next(one for one in samples if one.media_type == "image/jpeg").content
    png = next(one for one in samples if one.media_type == "image/png").content
    gif = io.BytesIO()
    Image.new("RGB", (8, 8)).save(gif, "GIF")
    return [
        (jpeg[:200], "image/jpeg"),
        (jpeg[:2] + bytes(range(256)) * 20, "image/jpeg"),
        (png[:40], "image/png"),
        (png[:33] + png[200:], "image/png"),
        (b"BM" + bytes(100), "image/bmp"),
        (b"RIFF\x10\0\0\0WEBPVP8 " + bytes(8), "image/webp"),
        (gif.getvalue(), "image/gif"),
        (b"<html></html>", "image/jpeg"),
        (b"\0", "image/png"),
    ]


def huge_picture() -> bytes:
    """Return a PNG file of some hundred bytes whose header states 100,000 x 100,000 pixels."""
    small = io.BytesIO()
    Image.new("RGB", (8, 8)).save(small, "PNG")
    file = bytearray(small.getvalue())
    # The header's chunk: length, IHDR, width and height, five further bytes, checksum.
    file[16:24] = (100_000).to_bytes(4, "big") * 2
    file[29:33] = zlib.crc32(file[12:29]).to_bytes(4, "big")
    return bytes(file)
