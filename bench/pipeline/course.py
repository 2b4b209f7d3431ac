"""One model from beginning to end: processes up, rounds, offered loads, overload, peers."""

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
from bench.pipeline.turns import Contestant, Track
from elastic_yolo.lab.load.expected import agree
from elastic_yolo.lab.processes.json_process import JsonProcess
from elastic_yolo.progress import print_status

_WARM_UP_S = 4.0


@dataclass(frozen=True)
class Course:
    """What is measured with, the same for every contestant."""

    model: Path
    cache: Path
    precision: str
    picture: Path
    threads: int
    rounds: int
    seconds: float


@dataclass(frozen=True)
class Ready:
    """The processes that are up all the time, and what the bare loop said of itself."""

    track: Track
    services: Contestant
    bare: dict[str, Any]

    @property
    def threshold(self) -> float:
        """The score from which on a detection counts, for everybody."""
        threshold: float = self.bare["threshold"]
        return threshold

    def check(self, contestant: Contestant) -> None:
        """Compare a contestant's answer with the bare loop's, and say it if they differ."""
        if not agree(self.bare["found"], self.track.first_answer(contestant)):
            print_status(f"{contestant.name}: finds something else than the bare loop")


@contextmanager
def ready(course: Course) -> Iterator[Ready]:
    """Start bare loop, load client and services; raises ProcessFailed or StackError."""
    task = {
        "model": str(course.model.resolve()),
        "cache": str(course.cache.resolve()),
        "picture": str(course.picture.resolve()),
        "precision": course.precision,
        "threads": course.threads,
    }
    with ExitStack() as stack:
        bare = stack.enter_context(JsonProcess("bench.pipeline.bare", json.dumps(task)))
        hello = bare.receive()
        print_status(_describe(hello))
        loader = stack.enter_context(JsonProcess("bench.pipeline.loader"))
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="elastic-yolo-")))
        services = stack.enter_context(
            pipeline(course.model, course.cache, course.precision, hello["threshold"], logs)
        )
        found = Ready(Track(loader, bare, course.picture.resolve()), services, hello)
        found.check(services)
        yield found


def compare_pipeline(course: Course, up: Ready) -> Result:
    """Let the services and the bare loop take turns; raises ProcessFailed."""
    # After its start the inference service still prepares to serve several at once.
    up.track.turn(up.services, BUSY, _WARM_UP_S)
    pairs = Pairs()
    for number in range(course.rounds):
        print_status(f"pipeline: round {number + 1} of {course.rounds}")
        pair(up.track, up.services, up.services, course.seconds, pairs)
    return summarise(up.services, up.services, pairs, up.services.memory())


def _describe(hello: dict[str, Any]) -> str:
    tried = ", ".join(
        f"{way['threads']} threads on {way['streams']} streams {way['images_per_s']:.1f}/s"
        for way in hello["tried"]
    )
    found = len(hello["found"])
    return f"bare loop: {found} detections from {hello['threshold']} on; tried {tried}"
