"""The measurement of one model: its processes, and the rounds of the pipeline."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.pipeline.compare import BUSY, Pairs, Result, pair, summarise
from bench.pipeline.services import pipeline
from bench.pipeline.turns import Candidate, TurnRunner
from elastic_yolo.lab.load.expected import agree
from elastic_yolo.lab.processes.json_process import JsonProcess
from elastic_yolo.progress import print_status

_WARM_UP_S = 4.0


@dataclass(frozen=True)
class BenchmarkConfig:
    """The parameters, the same for every candidate."""

    model: Path
    cache: Path
    precision: str
    picture: Path
    threads: int
    rounds: int
    seconds: float


@dataclass(frozen=True)
class RunningProcesses:
    """The running processes, and the first message of the bare loop."""

    runner: TurnRunner
    services: Candidate
    inference: Candidate
    bare: dict[str, Any]

    @property
    def threshold(self) -> float:
        """The lowest score of a detection, for all candidates."""
        threshold: float = self.bare["threshold"]
        return threshold

    def check(self, candidate: Candidate) -> None:
        """Compare a candidate's detections with the bare loop's, and report a difference."""
        if not agree(self.bare["found"], self.runner.first_detections(candidate)):
            print_status(f"{candidate.name}: its detections differ from the bare loop's")


@contextmanager
def start_processes(config: BenchmarkConfig) -> Iterator[RunningProcesses]:
    """Start bare loop, load client and services; raises ProcessFailed or StackError."""
    task = {
        "model": str(config.model.resolve()),
        "cache": str(config.cache.resolve()),
        "picture": str(config.picture.resolve()),
        "precision": config.precision,
        "threads": config.threads,
    }
    with ExitStack() as stack:
        bare = stack.enter_context(JsonProcess("bench.pipeline.bare", json.dumps(task)))
        first_message = bare.receive()
        print_status(_describe(first_message))
        loader = stack.enter_context(JsonProcess("bench.pipeline.loader"))
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="elastic-yolo-")))
        services, inference = stack.enter_context(
            pipeline(config.model, config.cache, config.precision, first_message["threshold"], logs)
        )
        found = RunningProcesses(
            TurnRunner(loader, bare, config.picture.resolve()), services, inference, first_message
        )
        for candidate in (services, inference):
            found.check(candidate)
        yield found


def compare_services(config: BenchmarkConfig, up: RunningProcesses) -> list[Result]:
    """Let all services, inference alone and the bare loop take turns; raises ProcessFailed."""
    candidates = (up.services, up.inference)
    all_pairs = [Pairs() for _ in candidates]
    for candidate in candidates:
        # After its start the inference service still prepares for concurrent requests.
        up.runner.turn(candidate, BUSY, _WARM_UP_S)
    for number in range(config.rounds):
        print_status(f"services: round {number + 1} of {config.rounds}")
        for candidate, pairs in zip(candidates, all_pairs, strict=True):
            pair(up.runner, candidate, candidate, config.seconds, pairs)
    return [
        summarise(candidate, candidate, pairs, candidate.memory())
        for candidate, pairs in zip(candidates, all_pairs, strict=True)
    ]


def _describe(first_message: dict[str, Any]) -> str:
    tried = ", ".join(
        f"{one['threads']} threads on {one['streams']} streams {one['images_per_s']:.1f}/s"
        for one in first_message["tried"]
    )
    found = len(first_message["found"])
    return f"bare loop: {found} detections above {first_message['threshold']}; tried {tried}"
