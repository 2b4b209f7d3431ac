"""The three services as a contestant."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.pipeline.turns import Contestant
from bench.pipeline.wire import Target
from tools.stack import Stack


@contextmanager
def pipeline(
    model: Path, cache: Path, precision: str, threshold: float, logs: Path
) -> Iterator[Contestant]:
    """Start web, preprocess and inference with their defaults, and stop them again."""
    inference = {
        "CACHE_DIR": str(cache),
        "PRECISION": precision,
        # Whatever the environment of the benchmark says.
        "ENGINE": "openvino",
        "DEVICE": "cpu",
    }
    with Stack(model=model.resolve(), logs=logs, env={"inference": inference}) as stack:
        tiers = {service.name: service.process.pid for service in reversed(stack.services)}
        target = Target(f"{stack.web.url}/inference?threshold={threshold}")
        yield Contestant("pipeline", "three services, their defaults", target, tiers)
