"""`elastic-yolo compare`: show where this detector differs from another one on pictures."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from elastic_yolo.cli.errors import describe_failure
from elastic_yolo.cli.options import (
    MODEL_HELP,
    add_engine_options,
    add_resize_option,
    chosen_model,
    engine_options,
    fraction,
    model_name,
    output_folder,
    positive,
)
from elastic_yolo.cli.pictures import expand_folders, overwritten, target_of
from elastic_yolo.comparison.drawing import draw_comparison
from elastic_yolo.comparison.pairing import Kind, Pair, Tolerance, pair_detections
from elastic_yolo.comparison.references import (
    DarknetReference,
    FileReference,
    NotInFile,
    OpenCvReference,
    Picture,
    Reference,
)
from elastic_yolo.comparison.report import Difference, Report, describe
from elastic_yolo.detector.boxes import Detection
from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.engines.choose import build_engine
from elastic_yolo.detector.errors import ModelError
from elastic_yolo.detector.files import MOST_PICTURE_BYTES, read_small
from elastic_yolo.detector.model import Model
from elastic_yolo.names import Resize
from elastic_yolo.picture.errors import PictureError
from elastic_yolo.progress import ProgressLine, print_status

_MOST_CLASSES, _MOST_DIFFERENCES = 100, 10
_OWN: dict[str, type[OpenCvReference | DarknetReference]] = {
    "opencv": OpenCvReference,
    "darknet": DarknetReference,
}

_DESCRIPTION = """\
Run this detector and another one on the same pictures, and show which boxes
differ. Boxes of the same class whose IoU is 0.5 or more are a pair. A pair has
moved if its scores differ by more than --score, or its centre, width or height
by more than --px. Of the other boxes, those of the other detector are lost,
ours are gained."""
_EPILOG = """\
--with opencv    OpenCV's DetectionModel, which stretches pictures; needs OpenCV 4
--with darknet   pjreddie's Darknet, which letterboxes pictures; needs Debian's
                 package darknet
--with FILE      detections of any other program: lines of `elastic-yolo detect
                 --json`, result.json of AlexeyAB's fork (darknet detector test
                 ... -out result.json), or a COCO object with images, categories
                 and annotations with scores

The exit status is 0 if all pictures were compared, also if boxes differ, unless
there is --fail."""


@dataclass(frozen=True)
class _Comparison:
    """The two detectors of a run and what they are run with."""

    reference: Reference
    detector: Detector
    threshold: float
    iou: float
    tolerance: Tolerance
    exact: bool

    @property
    def title(self) -> str:
        """Our side in words."""
        engine, resize = self.detector.engine, self.detector.model.resize
        exact = ", exact" if self.exact else ""
        return f"elastic-yolo ({engine.name} {engine.precision}, {resize}{exact})"

    def compare(self, picture: Picture) -> list[Pair]:
        """Return the pairs of a picture; raises PictureError or NotInFile."""
        # Down to a lower threshold: a box at the threshold is not lost for a thousandth of score.
        lowest = max(0.0, self.threshold - self.tolerance.score)
        theirs = self.reference.detect(picture, lowest, self.iou)
        ours = self.detector.detect(picture.data, lowest, self.iou, exact=self.exact)
        return pair_detections(theirs, ours, self.threshold, self.tolerance)

    def to_json(self) -> dict[str, Any]:
        """Return the conditions of the run as a JSON object."""
        engine = self.detector.engine
        return {
            "model": self.detector.model.name,
            "digest": self.detector.model.digest,
            "with": self.reference.name,
            "engine": engine.name,
            "precision": engine.precision,
            "resize": self.detector.model.resize,
            "exact": self.exact,
            "threshold": self.threshold,
            "iou": self.iou,
            "tolerance": {"px": self.tolerance.px, "score": self.tolerance.score},
        }


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "compare",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=model_name, metavar="MODEL", help=MODEL_HELP)
    parser.add_argument(
        "pictures", nargs="+", type=Path, metavar="PICTURE", help="picture file, or folder of them"
    )
    parser.add_argument(
        "--with",
        dest="other",
        required=True,
        metavar="WHAT",
        help="opencv, darknet, or a file with detections",
    )
    parser.add_argument(
        "--threshold", type=fraction, help="score that a box must exceed (default: the model's)"
    )
    parser.add_argument("--iou", type=fraction, help="overlap of NMS (default: the model's)")
    parser.add_argument(
        "--px", type=positive, default=1.0, help="pixels that a box may differ (default: 1)"
    )
    parser.add_argument(
        "--score", type=fraction, default=0.01, help="score that a box may differ (default: 0.01)"
    )
    parser.add_argument(
        "--exact",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="decode and resample precisely, as the other detector does; --no-exact as a service",
    )
    parser.add_argument("--json", action="store_true", help="print all counts and differences")
    parser.add_argument(
        "--save",
        type=output_folder,
        metavar="DIR",
        help="write theirs and ours side by side to this folder",
    )
    parser.add_argument(
        "--fail", action="store_true", help="exit with 1 if a box is lost, gained or moved"
    )
    add_resize_option(
        parser,
        "with opencv stretch, with darknet letterbox; with a file what the model states, or else "
        "stretch for one of AlexeyAB's fork",
    )
    add_engine_options(parser)
    parser.set_defaults(run=run, refuse=parser.error)


def run(parsed: argparse.Namespace) -> int:
    """Compare all pictures; one that fails is reported, and the exit status is 1."""
    paths = expand_folders(parsed.pictures)
    for reason in _refusals(parsed, paths):
        parsed.refuse(reason)
    comparison = _prepare(parsed)
    report, failed = Report(comparison.tolerance), 0
    progress = ProgressLine()
    for number, path in enumerate(paths, start=1):
        try:
            picture = Picture(path, read_small(path, MOST_PICTURE_BYTES))
            pairs = comparison.compare(picture)
            if parsed.save:
                _save(target_of(parsed.save, path), picture, pairs, comparison)
        except (OSError, PictureError, ModelError, NotInFile) as error:
            print_status(f"elastic-yolo: {describe_failure(path, error)}")
            failed += 1
        else:
            report.add(str(path), pairs)
        progress("comparing", number, len(paths))
    if parsed.json:
        print(json.dumps({**comparison.to_json(), **report.to_json(), "failed": failed}, indent=2))
    elif report.pictures:
        print("\n".join(_lines(comparison, report)))
    differ = parsed.fail and bool(report.differences)
    return 1 if failed or differ else 0


def _refusals(parsed: argparse.Namespace, paths: list[Path]) -> Iterator[str]:
    if parsed.other not in _OWN and not Path(parsed.other).is_file():
        yield f"--with: expected opencv, darknet or a file, found {parsed.other}"
    if parsed.save:
        yield from overwritten(paths, parsed.save)


def _prepare(parsed: argparse.Namespace) -> _Comparison:
    model = chosen_model(parsed.model)
    make = _OWN.get(parsed.other)
    reference: Reference = FileReference(Path(parsed.other)) if make is None else make(model)
    resize = parsed.resize or _resize(model, reference)
    for line in _notes(model, reference, resize):
        print_status(line)
    model = replace(model, resize=resize)
    engine, _ = build_engine(model, engine_options(parsed))
    return _Comparison(
        reference=reference,
        detector=Detector(model, engine),
        threshold=model.threshold if parsed.threshold is None else parsed.threshold,
        iou=model.iou if parsed.iou is None else parsed.iou,
        tolerance=Tolerance(parsed.px, parsed.score),
        exact=parsed.exact,
    )


def _resize(model: Model, reference: Reference) -> Resize:
    """Return the rule of the other detector, as far as it is known."""
    # A file of the fork follows the .cfg, which may have decided for this model too.
    if isinstance(reference, FileReference) and model.resize_stated:
        return model.resize
    return reference.resize or model.resize


def _notes(model: Model, reference: Reference, resize: str) -> Iterator[str]:
    if resize != model.resize:
        yield (
            f"note: compared with resize: {resize}; detect and the services use {model.resize} "
            f"for this model: write resize: {resize} to its model.yaml to change that"
        )
    if isinstance(reference, FileReference):
        unknown = sorted(reference.labels - set(model.labels))
        if unknown:
            shown = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
            yield f"note: labels of {reference.name} that the model does not have: {shown}"


def _save(target: Path, picture: Picture, pairs: list[Pair], comparison: _Comparison) -> None:
    titles = (comparison.reference.name, comparison.title)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(draw_comparison(picture.data, pairs, comparison.tolerance, titles))


def _lines(comparison: _Comparison, report: Report) -> Iterator[str]:
    tolerance = comparison.tolerance
    yield f"theirs: {comparison.reference.name}"
    yield f"ours:   {comparison.title}"
    yield (
        f"{report.pictures} pictures, threshold {comparison.threshold:g}, iou {comparison.iou:g}; "
        f"moved: more than {tolerance.px:g} px or {tolerance.score:g}"
    )
    yield ""
    yield _row("class", *describe(report.totals))
    for label in sorted(report.classes)[:_MOST_CLASSES]:
        yield _row(label, *describe(report.classes[label]).values())
    if len(report.classes) > _MOST_CLASSES:
        yield f"and {len(report.classes) - _MOST_CLASSES:,} more classes: --json has all"
    yield _row("all", *describe(report.totals).values())
    yield ""
    yield (
        f"largest difference of a pair: {report.largest_px:.2f} px, {report.largest_score:.4f} "
        "of score"
    )
    largest = report.largest(_MOST_DIFFERENCES)
    yield from (_describe(one) for one in largest)
    if len(report.differences) > len(largest):
        yield f"and {len(report.differences) - len(largest):,} more: --json has all"


def _row(label: str, *cells: object) -> str:
    return f"{label[:22]:<22}" + "".join(f"{cell:>9}" for cell in cells)


def _describe(one: Difference) -> str:
    pair, name = one.pair, Path(one.picture).name
    start = f"  {name[:18]:<18} {one.kind:<7}"
    if one.kind is Kind.MOVED and pair.theirs and pair.ours:
        scores = f"{pair.theirs.score:.2f} -> {pair.ours.score:.2f}"
        return f"{start} {pair.label[:16]:<16} {scores}  {pair.px:.1f} px"
    found = pair.theirs or pair.ours
    return f"{start} {_where(found)}" if found else start


def _where(found: Detection) -> str:
    x, y, width, height = found.box
    return (
        f"{found.label[:16]:<16} {found.score:.2f}  at {x:.0f} {y:.0f}, {width:.0f} x {height:.0f}"
    )
