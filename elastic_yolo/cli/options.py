"""Options that several commands have, and what they mean to the detector."""

from __future__ import annotations

import argparse
import os
from contextlib import suppress
from pathlib import Path

from elastic_yolo.detector.engines.choose import ENGINES, EngineOptions
from elastic_yolo.detector.precision import PRECISIONS


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Add --engine, --precision, --cache, --device and --threads."""
    parser.add_argument("--engine", choices=("auto", *ENGINES), default="auto", help="(auto)")
    parser.add_argument(
        "--precision",
        choices=("auto", *PRECISIONS),
        default="auto",
        help="(auto: what `convert` measured as the fastest within the budget, else fp32)",
    )
    parser.add_argument("--cache", type=Path, metavar="DIR", help="compiled and converted models")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(auto)")
    add_threads_option(parser)


def add_threads_option(parser: argparse.ArgumentParser) -> None:
    """Add --threads."""
    parser.add_argument(
        "--threads", type=count, default=len(os.sched_getaffinity(0)), help="(%(default)s)"
    )


def engine_options(parsed: argparse.Namespace) -> EngineOptions:
    """Return the engine options that were given."""
    return EngineOptions(
        threads=parsed.threads,
        engine=parsed.engine,
        precision=parsed.precision,
        device=parsed.device,
        cache=parsed.cache,
    )


def fraction(text: str) -> float:
    """Parse a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError("expected a number from 0 to 1")
    return value


def positive(text: str) -> float:
    """Return a finite number above 0."""
    with suppress(ValueError):
        if 0 < (value := float(text)) < float("inf"):
            return value
    raise argparse.ArgumentTypeError("expected a number above 0")


def count(text: str) -> int:
    """Parse a whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("expected a whole number above 0")
    return int(text)


def folder(text: str) -> Path:
    """Parse the path of a folder that exists."""
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"no such folder: {text}")
    return path


def new_file(text: str) -> Path:
    """Parse the path of a file to write, in a folder that exists."""
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"no such folder: {path.parent}")
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"a folder, not a file: {text}")
    return path
