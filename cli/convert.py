"""`elastic-yolo convert`: to ONNX, or to 8-bit integers for the cache of a service."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx

from cli.options import add_threads_option, folder
from detector.agreement import agreement
from detector.artefacts import Quantised, artefact_path, write_quantised
from detector.boxes import Image
from detector.detector import Detector
from detector.engines.openvino import OpenVinoEngine
from detector.graph import build_graph
from detector.model import read_model
from detector.quantise import quantise
from picture.errors import PictureError

_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "convert",
        help="convert to ONNX, or to 8-bit integers",
        description="Convert a model: --precision fp32 writes an ONNX file; --precision int8 "
        "quantises with calibration pictures, measures the agreement with fp32, and puts the "
        "result where a service with the same CACHE_DIR and PRECISION=int8 finds it.",
    )
    parser.add_argument("model", type=folder, metavar="DIR", help="model folder")
    parser.add_argument("--precision", choices=("fp32", "int8"), required=True)
    parser.add_argument("--output", type=Path, metavar="FILE", help="fp32: the ONNX file to write")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="int8: the CACHE_DIR of services")
    parser.add_argument(
        "--calibration", type=folder, metavar="DIR", help="int8: pictures like those to come"
    )
    add_threads_option(parser)
    parser.set_defaults(run=run, refuse=parser.error)


def run(parsed: argparse.Namespace) -> int:
    """Convert and say what was written."""
    if parsed.precision == "fp32":
        if not parsed.output:
            parsed.refuse("--precision fp32 needs --output")
        model = read_model(parsed.model)
        onnx.save(build_graph(model.network, model.read_weights()), parsed.output)
        print(parsed.output)
        return 0
    if not (parsed.cache and parsed.calibration):
        parsed.refuse("--precision int8 needs --cache and --calibration")
    return _convert_to_int8(parsed)


def _convert_to_int8(parsed: argparse.Namespace) -> int:
    model = read_model(parsed.model)
    graph = build_graph(model.network, model.read_weights())
    exact = Detector(model, OpenVinoEngine(graph, threads=parsed.threads))
    images = list(_read_pictures(parsed.calibration, exact))
    if not images:
        print(f"elastic-yolo: no usable pictures in {parsed.calibration}", file=sys.stderr)
        return 1
    _say(f"quantising with {len(images)} pictures")
    small = quantise(graph, model.network, images)
    _say("comparing with fp32")
    engine = OpenVinoEngine(small, threads=parsed.threads, precision="int8")
    found = agreement(exact, Detector(model, engine), images)
    path = artefact_path(parsed.cache, model.digest)
    write_quantised(path, model.digest, Quantised(small, len(images), found))
    print(f"{path}\nagreement with fp32: {found:.3f} (F1 of the boxes, {len(images)} pictures)")
    return 0


def _read_pictures(pictures: Path, detector: Detector) -> Iterator[Image]:
    for path in sorted(pictures.iterdir()):
        if path.suffix.lower() in _SUFFIXES:
            try:
                yield detector.prepare(path.read_bytes())[0]
            except PictureError as error:
                _say(f"left out: {path.name}: {error}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
