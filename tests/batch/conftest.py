"""Fixtures of the tests of batches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from elastic_yolo.cli.__main__ import main

Batch = Callable[..., int]
"""Runs `elastic-yolo batch` and returns its exit status."""


@pytest.fixture
def batch(tiny_model: Path) -> Batch:
    """Run the command in this process, with the tiny model if no other one is named."""

    def run(source: str | Path, output: str | Path, *options: str | Path) -> int:
        model = [] if "--model" in options else ["--model", str(tiny_model)]
        given = ["batch", "--input", str(source), "--output", str(output), *model]
        return main([*given, *map(str, options)])

    return run
