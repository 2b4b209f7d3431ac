"""`elastic-yolo verify`: check a model folder before it is served."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from elastic_yolo.cli.options import add_engine_options, engine_options, folder
from elastic_yolo.detector.accuracy import mean_average_precision
from elastic_yolo.detector.conversion import detect_all
from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.engines.choose import EngineOptions, build_engine
from elastic_yolo.detector.engines.libdarknet import find_libdarknet
from elastic_yolo.detector.errors import DetectorError, EngineError, ModelError
from elastic_yolo.detector.golden import golden_difference
from elastic_yolo.detector.model import Model, read_model
from elastic_yolo.detector.samples import SampleFolder
from elastic_yolo.progress import ProgressLine, print_skipped

# Two correct float32 implementations differ by far less, a wrong one by far more.
_RELATIVE = 1e-3


@dataclass(frozen=True)
class Check:
    """One line of the report; `passed` is None if the check could not run."""

    name: str
    passed: bool | None
    detail: str


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "verify",
        description="Check a model folder: .cfg against .weights, labels, digests, the golden "
        "picture, and the outputs of Darknet's C code if it is installed; with --pictures also the "
        "mAP on pictures with Darknet's label files.",
    )
    parser.add_argument("model", type=folder, metavar="DIR", help="model folder")
    parser.add_argument(
        "--pictures", type=folder, metavar="DIR", help="pictures with .txt label files; prints mAP"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    add_engine_options(parser)
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Print every check; the exit status is 1 if one failed."""
    checks = []
    for check in verify(parsed.model, engine_options(parsed), parsed.pictures):
        checks.append(check)
        if not parsed.json:
            word = {True: "ok", False: "FAILED", None: "not checked"}[check.passed]
            print(f"{check.name:<10} {word:<12} {check.detail}", flush=True)
    if parsed.json:
        print(json.dumps([asdict(check) for check in checks], indent=2))
    return 1 if any(check.passed is False for check in checks) else 0


def verify(path: Path, options: EngineOptions, pictures: Path | None = None) -> Iterator[Check]:
    """Yield the checks of a folder; stops after a failure that prevents all further ones."""
    try:
        model = read_model(path)
        # An engine with a cached graph would not read the weights.
        model.read_weights()
    except ModelError as error:
        yield Check("files", passed=False, detail=str(error))
        return
    yield Check("files", passed=True, detail=_describe(model))
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
    if pictures is not None:
        yield _check_accuracy(detector, pictures)


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
        float(np.abs(mine - theirs).max() / np.abs(theirs).max())
        for mine, theirs in zip(ours.execute(image), oracle.execute(image), strict=True)
    )
    detail = f"raw heads in fp32 differ from Darknet's by {worst:.1e} of the largest value"
    return Check("darknet", passed=worst <= _RELATIVE, detail=detail)


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
    found = detect_all(detector, samples, ProgressLine()).found
    score = mean_average_precision(found, samples.truth)
    detail = f"mAP@0.5 is {score:.4f} on {len(samples)} pictures, in {detector.engine.precision}"
    return Check("accuracy", passed=True, detail=detail)
