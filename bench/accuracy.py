"""Compare engines and precisions on photographs, with Darknet and with fp32.

python -m bench.accuracy MODEL [--calibration DIR] [--pictures DIR ...] [--photos DIR]

Prints two tables in Markdown: for every photo, the largest difference between Darknet's own
detections and those of each engine and precision; and for the evaluation pictures, what each
precision loses against fp32. docs/accuracy.md has the output for the authors' yolov3-tiny.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.models import THREADS
from bench.oracle.compare import distance
from elastic_yolo.detector.accuracy import LOWEST_SCORE, mean_average_precision
from elastic_yolo.detector.agreement import MOVED, Agreement, compare_boxes
from elastic_yolo.detector.boxes import SCORE, Floats
from elastic_yolo.detector.conversion import make_int8, pseudo_labels
from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.engines.choose import (
    EngineOptions,
    build_engine,
    offered_precisions,
)
from elastic_yolo.detector.engines.libdarknet import DarknetBox, LibDarknet, find_libdarknet
from elastic_yolo.detector.heads import decode_heads
from elastic_yolo.detector.model import Model, read_model
from elastic_yolo.detector.nms import overlaps
from elastic_yolo.detector.samples import SampleFolder, list_pictures
from elastic_yolo.detector.uncertainty import loss_interval
from elastic_yolo.progress import ProgressLine, print_skipped, print_status

PHOTOS = Path(__file__).parents[1] / "client" / "photos"
CALIBRATION = PHOTOS / "calibration"
# A box of one side is compared with the best of its class on the other, down to this part of the
# threshold.
_LOWER = 0.5


@dataclass(frozen=True)
class PhotoDifference:
    """The largest differences of one photo's boxes; `unpaired` boxes have no counterpart."""

    boxes: int
    unpaired: int
    pixels: float
    score: float


@dataclass(frozen=True)
class Evaluation:
    """One engine and precision on the evaluation pictures.

    `truth_loss` is the loss of mAP against labels, None without any; `loss` that against the boxes
    of fp32, with its 95 % interval. `network_worst` is the smallest overlap of a box with the box
    that the same cell and anchor give, `network_moved` counts those below 0.9: unlike in
    `agreement`, it does not matter which of several candidates survives suppression.
    """

    truth_loss: float | None
    loss: float
    interval: tuple[float, float]
    agreement: Agreement
    network_worst: float
    network_moved: int


def main() -> None:
    """Print the tables."""
    parsed = _parse()
    model = read_model(parsed.model)
    with tempfile.TemporaryDirectory(prefix="elastic-yolo-") as folder:
        cache = Path(folder)
        calibration = SampleFolder(parsed.calibration, model, print_skipped)
        make_int8(model, calibration, cache, ProgressLine())
        print(f"int8 calibrated with {len(calibration)} pictures of {parsed.calibration}\n")
        if find_libdarknet() is None:
            print_status("no comparison with Darknet: make oracle installs it")
        else:
            _print_photos(model, parsed.photos, cache)
        if parsed.pictures:
            _print_evaluation(model, parsed.pictures, cache)


def candidates(cache: Path) -> Iterator[EngineOptions]:
    """Yield every engine and precision that this machine offers, fp32 of OpenVINO first."""
    for engine in ("openvino", "onnxruntime", "darknet"):
        if engine == "darknet" and find_libdarknet() is None:
            continue
        for precision in offered_precisions(engine, "cpu"):
            yield EngineOptions(THREADS, engine, precision, "cpu", cache)


def photo_difference(
    ours: list[DarknetBox], theirs: list[DarknetBox], threshold: float
) -> PhotoDifference:
    """Compare the boxes at `threshold` with their nearest counterparts.

    Both lists reach down to half the threshold, because a score just below it is a difference of
    score, not of boxes.
    """
    wanted = [box for box in theirs if box[1] >= threshold]
    answered = [box for box in ours if box[1] >= threshold]
    pairs = [(one, _nearest(one, ours)) for one in wanted]
    pairs += [(one, _nearest(one, theirs)) for one in answered]
    both = [(one, other) for one, other in pairs if other is not None]
    return PhotoDifference(
        len(wanted),
        len(pairs) - len(both),
        max((distance(one, other) for one, other in both), default=0.0),
        max((abs(one[1] - other[1]) for one, other in both), default=0.0),
    )


def _nearest(box: DarknetBox, others: list[DarknetBox]) -> DarknetBox | None:
    same = [other for other in others if other[0] == box[0]]
    return min(same, key=lambda other: distance(box, other), default=None)


def detect_photo(detector: Detector, photo: Path, *, exact: bool) -> list[DarknetBox]:
    """Return what a detector finds from half the model's threshold on, as LibDarknet returns it."""
    model = detector.model
    found = detector.detect(photo.read_bytes(), model.threshold * _LOWER, model.iou, exact=exact)
    return [(model.labels.index(one.label), one.score, one.box) for one in found]


def ask_darknet(model: Model, photos: Sequence[Path]) -> dict[Path, list[DarknetBox]]:
    """Return what Darknet finds on the files, from half the model's threshold on."""
    with LibDarknet(model.cfg, model.weights_file) as darknet:
        return {
            photo: darknet.detect(photo, model.threshold * _LOWER, model.iou) for photo in photos
        }


def _print_photos(model: Model, folder: Path, cache: Path) -> None:
    photos = list_pictures(folder)
    theirs = ask_darknet(model, photos)
    print(f"| engine | precision | input | {' | '.join(one.stem for one in photos)} |")
    print("|---|---|---|" + "---:|" * len(photos))
    for options in candidates(cache):
        detector = Detector(model, build_engine(model, options)[0])
        for exact in (True, False):
            cells = [
                _cell(
                    photo_difference(
                        detect_photo(detector, photo, exact=exact), theirs[photo], model.threshold
                    )
                )
                for photo in photos
            ]
            kind = "exact" if exact else "uint8"
            print(f"| {options.engine} | {options.precision} | {kind} | {' | '.join(cells)} |")
    print(flush=True)


def _cell(difference: PhotoDifference) -> str:
    alone = f", {difference.unpaired} alone" if difference.unpaired else ""
    return f"{difference.pixels:.2f} px, {difference.score:.3f}{alone}"


class Evaluator:
    """The evaluation pictures, and what fp32 finds on them."""

    def __init__(self, model: Model, folders: Sequence[Path], fp32: Detector) -> None:
        """Run fp32 on every picture."""
        self._model = model
        self._samples = [SampleFolder(one, model, print_skipped) for one in folders]
        self.pictures = sum(map(len, self._samples))
        self.boxes = 0
        self._winners: list[_Winners] = []
        self._found: list[Floats] = []
        for outputs, found in self._run(fp32):
            confident = found[found[:, SCORE] >= model.threshold]
            everything = _all_boxes(model, outputs)
            rows = [int(np.abs(everything - one[:4]).max(axis=1).argmin()) for one in confident]
            self._winners.append(_Winners(rows, confident[:, :4]))
            self._found.append(found)
            self.boxes += len(rows)

    def evaluate(self, detector: Detector) -> Evaluation:
        """Compare another engine or precision with fp32."""
        found, network = [], [1.0]
        for winners, (outputs, boxes) in zip(self._winners, self._run(detector), strict=True):
            found.append(boxes)
            everything = _all_boxes(self._model, outputs)
            network += [
                float(overlaps(box, everything[row : row + 1])[0])
                for row, box in zip(winners.rows, winners.boxes, strict=True)
            ]
        pseudo = pseudo_labels(self._found, self._model.threshold)
        return Evaluation(
            self._truth_loss(found),
            mean_average_precision(self._found, pseudo) - mean_average_precision(found, pseudo),
            loss_interval(self._found, found, pseudo),
            compare_boxes(self._found, found, self._model.threshold),
            min(network),
            sum(one < MOVED for one in network),
        )

    def _truth_loss(self, found: list[Floats]) -> float | None:
        truth: list[Floats] = []
        chosen: list[int] = []
        first = 0
        for samples in self._samples:
            if samples.truth is not None:
                truth += samples.truth
                chosen += range(first, first + len(samples))
            first += len(samples)
        if not truth:
            return None
        before, after = (
            mean_average_precision([boxes[number] for number in chosen], truth)
            for boxes in (self._found, found)
        )
        return before - after

    def _run(self, detector: Detector) -> Iterator[tuple[list[Floats], Floats]]:
        """Yield the outputs of the network and the detections of every picture."""
        for samples in self._samples:
            for image in samples:
                outputs = detector.execute(image[np.newaxis])
                (found,) = detector.postprocess(outputs, LOWEST_SCORE, self._model.iou)
                yield [head[0] for head in outputs], found


@dataclass(frozen=True)
class _Winners:
    """The boxes of fp32 in one picture, and their rows among the boxes of all cells."""

    rows: list[int]
    boxes: Floats


def _all_boxes(model: Model, outputs: list[Floats]) -> Floats:
    """Return the box of every cell and anchor, always in the same order."""
    return decode_heads(model.network, outputs, -1.0).boxes


def _print_evaluation(model: Model, folders: Sequence[Path], cache: Path) -> None:
    options = EngineOptions(THREADS, "openvino", "fp32", "cpu", cache)
    evaluator = Evaluator(model, folders, Detector(model, build_engine(model, options)[0]))
    print(f"{evaluator.pictures} pictures, {evaluator.boxes} boxes of fp32\n")
    print(
        "| engine | precision | mAP loss, labels | mAP loss, fp32's boxes | 95 % interval | "
        "worst IoU | below 0.9 | after NMS | lost | gained |"
    )
    print("|---|---|" + "---:|" * 8)
    for one in candidates(cache):
        if one.engine != "darknet":
            result = evaluator.evaluate(Detector(model, build_engine(model, one)[0]))
            print(f"| {one.engine} | {one.precision} | {_row(result)} |", flush=True)


def _row(result: Evaluation) -> str:
    labels = "" if result.truth_loss is None else f"{100 * result.truth_loss:.2f}"
    low, high = result.interval
    agreement = result.agreement
    return (
        f"{labels} | {100 * result.loss:.2f} | {100 * low:.2f} to {100 * high:.2f} | "
        f"{result.network_worst:.3f} | {result.network_moved} | {agreement.moved} | "
        f"{agreement.lost} | {agreement.gained}"
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.accuracy",
        description="Compare engines and precisions on photographs, with Darknet and with fp32.",
    )
    parser.add_argument("model", type=Path, help="model folder")
    parser.add_argument(
        "--calibration", type=Path, default=CALIBRATION, help="pictures for int8 (%(default)s)"
    )
    parser.add_argument("--photos", type=Path, default=PHOTOS, help="compared one by one")
    parser.add_argument(
        "--pictures", type=Path, nargs="+", default=[], help="evaluation pictures, compared as sets"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
