"""`elastic-yolo verify`: check a model folder before it is served."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from elastic_yolo.cli.options import (
    MODEL_HELP,
    add_engine_options,
    add_resize_option,
    chosen_model,
    engine_options,
    existing_file,
    folder,
    model_name,
)
from elastic_yolo.cli.resize_rules import detect_by_both_rules, side_by_side, to_json
from elastic_yolo.detector.accuracy import mean_average_precision
from elastic_yolo.detector.conversion import detect_all
from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.engines.choose import EngineOptions, build_engine
from elastic_yolo.detector.engines.libdarknet import find_libdarknet
from elastic_yolo.detector.errors import DetectorError, EngineError, ModelError, SampleError
from elastic_yolo.detector.files import MOST_PICTURE_BYTES, read_small
from elastic_yolo.detector.golden import golden_difference
from elastic_yolo.detector.model import Model
from elastic_yolo.detector.samples import SampleFolder, list_pictures
from elastic_yolo.picture.errors import PictureError
from elastic_yolo.progress import ProgressLine, print_skipped

# In a checkout; an installed wheel has no photographs.
_PHOTO = Path(__file__).parents[2] / "client" / "photos" / "dog.jpg"
_CHOOSE = (
    "Choose by how the model was trained: write resize: letterbox (pjreddie's Darknet) or "
    "resize: stretch (AlexeyAB's fork, OpenCV's DetectionModel) to model.yaml"
)
# Two correct float32 implementations differ by far less, a wrong one by far more.
_RELATIVE = 1e-3


@dataclass(frozen=True)
class Check:
    """One line of the report; `passed` is None if the check could not run."""

    name: str
    passed: bool | None
    detail: str
    found: dict[str, Any] | None = None
    """What each resize rule finds in a picture, if a rule must be chosen."""
    lines: tuple[str, ...] = ()
    """Further lines for a terminal."""
    notes: tuple[str, ...] = ()
    """What is ignored, though the check passed."""

    def to_json(self) -> dict[str, Any]:
        """Return the check as a JSON object."""
        described = {"name": self.name, "passed": self.passed, "detail": self.detail}
        optional = {"found": self.found, "notes": list(self.notes)}
        return described | {name: value for name, value in optional.items() if value}


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "verify",
        description="Check a model folder: .cfg against .weights, labels, digests, the golden "
        "picture, and the outputs of Darknet's C code if it is installed; with --pictures also the "
        "mAP on pictures with Darknet's label files. If no file states whether pictures are "
        "letterboxed or stretched, shows what the model detects either way.",
    )
    parser.add_argument("model", type=model_name, metavar="MODEL", help=MODEL_HELP)
    parser.add_argument(
        "--pictures", type=folder, metavar="DIR", help="pictures with .txt label files; prints mAP"
    )
    parser.add_argument(
        "--picture",
        type=existing_file,
        metavar="FILE",
        help="picture to detect in by both resize rules (default: the golden picture, or the "
        "first one of --pictures)",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    add_resize_option(parser)
    add_engine_options(parser)
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Print every check; the exit status is 1 if one failed."""
    checks = []
    for check in verify(parsed):
        checks.append(check)
        if not parsed.json:
            word = {True: "ok", False: "FAILED", None: "not checked"}[check.passed]
            print(f"{check.name:<10} {word:<12} {check.detail}", flush=True)
            for line in (*check.notes, *check.lines):
                print(f"{'':<23} {line}", flush=True)
    if parsed.json:
        print(json.dumps([check.to_json() for check in checks], indent=2))
    return 1 if any(check.passed is False for check in checks) else 0


def verify(parsed: argparse.Namespace) -> Iterator[Check]:
    """Yield the checks of a folder; stops after a failure that prevents all further ones."""
    options = engine_options(parsed)
    try:
        model = chosen_model(parsed.model, parsed.resize)
        # An engine with a cached graph would not read the weights.
        model.read_weights()
    except ModelError as error:
        yield Check("files", passed=False, detail=str(error))
        return
    yield Check("files", passed=True, detail=_describe(model), notes=model.network.notes)
    if (unusable := _check_name(model)) is not None:
        yield unusable
    yield Check("digest", passed=True, detail=model.digest)
    try:
        engine, choice = build_engine(model, options)
    except EngineError as error:
        yield Check("engine", passed=False, detail=str(error))
        return
    yield Check("engine", passed=True, detail=f"{engine.name} {engine.precision}: {choice.why}")
    detector = Detector(model, engine)
    yield _check_golden(detector)
    yield _check_oracle(model, options)
    picture = _choose_picture(model, parsed.picture, parsed.pictures)
    yield _check_resize(detector, picture, given=parsed.resize is not None)
    if parsed.pictures is not None:
        yield _check_accuracy(detector, parsed.pictures)


def _check_name(model: Model) -> Check | None:
    try:
        model.require_name()
    except ModelError as error:
        return Check("name", passed=False, detail=str(error))
    return None


def _describe(model: Model) -> str:
    network = model.network
    return (
        f"{model.name} version {model.version}: {len(network.layers)} layers, "
        f"{network.float_count:,} weights, as the .cfg requires; {network.flop / 1e9:.2f} GFLOP, "
        f"{network.input.width}x{network.input.height}, {network.classes} classes, "
        f"{len(model.labels)} labels"
    )


def _check_golden(detector: Detector) -> Check:
    golden = detector.model.golden
    if golden is None:
        return Check("golden", passed=None, detail="model.yaml names no golden picture")
    try:
        difference = golden_difference(detector)
    except ModelError as error:
        return Check("golden", passed=False, detail=str(error))
    detail = difference or f"{golden.picture}: {len(golden.expected)} objects as expected"
    return Check("golden", passed=difference is None, detail=detail)


def _check_oracle(model: Model, options: EngineOptions) -> Check:
    """Compare raw heads in fp32, whatever the precision: rounding is not an error."""
    if find_libdarknet() is None:
        return Check("darknet", passed=None, detail="libdarknet is not installed here")
    try:
        oracle, _ = build_engine(model, EngineOptions(threads=1, engine="darknet"))
        ours, _ = build_engine(model, replace(options, precision="fp32"))
    except EngineError as error:
        return Check("darknet", passed=None, detail=str(error))
    size = model.network.input
    image = np.random.default_rng(0).integers(
        0, 256, (1, size.height, size.width, 3), dtype=np.uint8
    )
    worst = max(
        float(np.abs(mine - theirs).max() / (np.abs(theirs).max() or 1))
        for mine, theirs in zip(ours.execute(image), oracle.execute(image), strict=True)
    )
    detail = f"raw heads in fp32 differ from Darknet's by {worst:.1e} of the largest value"
    return Check("darknet", passed=worst <= _RELATIVE, detail=detail)


def _choose_picture(model: Model, picture: Path | None, pictures: Path | None) -> Path | None:
    """Return the picture that shows the difference of the resize rules, or None without one."""
    if picture is not None:
        return picture
    if model.golden is not None:
        return model.folder / model.golden.picture
    if pictures is not None:
        with suppress(SampleError):
            return list_pictures(pictures)[0]
    return _PHOTO if _PHOTO.is_file() else None


def _check_resize(detector: Detector, picture: Path | None, *, given: bool) -> Check:
    """Ask for a choice if no file states one: a wrong rule costs accuracy, and nothing else shows.

    Never fails: the files cannot tell which pictures the model was trained on.
    """
    model = detector.model
    if model.resize_stated:
        detail = f"{model.resize}, as {'--resize' if given else 'model.yaml or the .cfg'} states"
        return Check("resize", passed=True, detail=detail)
    detail = f"neither model.yaml nor the .cfg states it: {model.resize} is used. {_CHOOSE}"
    if picture is None:
        detail += "; to see what the model detects by both rules, pass --picture FILE"
        return Check("resize", passed=None, detail=detail)
    try:
        data = read_small(picture, MOST_PICTURE_BYTES)
        both = detect_by_both_rules(detector, picture.name, data)
    except (ModelError, PictureError) as error:
        return Check("resize", passed=None, detail=f"{detail}; {picture}: {error}")
    return Check(
        "resize", passed=None, detail=detail, found=to_json(both), lines=(*side_by_side(both),)
    )


def _check_accuracy(detector: Detector, pictures: Path) -> Check:
    try:
        return _measure_accuracy(detector, pictures)
    except (DetectorError, OSError) as error:
        return Check("accuracy", passed=False, detail=str(error))


def _measure_accuracy(detector: Detector, pictures: Path) -> Check:
    samples = SampleFolder(pictures, detector.model, print_skipped)
    if samples.truth is None:
        detail = f"{samples.unlabelled} of {len(samples)} pictures have no label file"
        return Check("accuracy", passed=None, detail=detail)
    if not any(map(len, samples.truth)):
        detail = f"no objects in any of the {len(samples)} pictures"
        return Check("accuracy", passed=None, detail=detail)
    found = detect_all(detector, samples, ProgressLine())
    score = mean_average_precision(found, samples.truth)
    detail = f"mAP@0.5 is {score:.4f} on {len(samples)} pictures, in {detector.engine.precision}"
    return Check("accuracy", passed=True, detail=detail)
