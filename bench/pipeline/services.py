"""The three services as a candidate, and the inference service without those in front of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.pipeline.turns import Candidate
from elastic_yolo.detector.model import read_model
from elastic_yolo.lab.load.wire import Target
from elastic_yolo.lab.processes.stack import Stack


def inference_settings(cache: Path, precision: str) -> dict[str, str]:
    """Return an inference process's settings, which override the benchmark's environment."""
    return {
        "CACHE_DIR": str(cache),
        "PRECISION": precision,
        "ENGINE": "openvino",
        "DEVICE": "cpu",
    }


@contextmanager
def pipeline(
    model: Path, cache: Path, precision: str, threshold: float, logs: Path
) -> Iterator[tuple[Candidate, Candidate]]:
    """Start web, preprocess and inference with their defaults; stop them after the block.

    The first candidate is all three, the second one inference alone: its process decodes the
    pictures itself.
    """
    env = {"inference": inference_settings(cache, precision)}
    with Stack(model=model.resolve(), logs=logs, env=env) as stack:
        tiers = {service.name: service.process.pid for service in reversed(stack.services)}
        target = Target(f"{stack.web.url}/inference?threshold={threshold}")
        everything = Candidate("pipeline", "three services, their defaults", target, tiers)
        name = read_model(model).name
        pictures = Target(
            f"{stack.inference.url}/v2/models/{name}/infer",
            content_type="application/octet-stream",
            tensor_parameters={"threshold": threshold},
        )
        alone = {"inference": stack.inference.process.pid}
        yield everything, Candidate("inference", "one service, picture files", pictures, alone)
