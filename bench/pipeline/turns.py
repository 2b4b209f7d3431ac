"""Turns: a contestant under load for a few seconds, the bare loop for as long."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from client.percentile import percentile
from elastic_yolo.lab.load.client import Sample
from elastic_yolo.lab.load.wire import Target
from elastic_yolo.lab.processes import process_tree as proc
from elastic_yolo.lab.processes.json_process import JsonProcess


@dataclass(frozen=True)
class Contestant:
    """Something that answers pictures over HTTP."""

    name: str
    setting: str
    """In words: how many processes, threads, streams."""
    target: Target
    tiers: dict[str, int]
    """Names of its tiers, each with the id of its first process."""
    frozen_when_idle: bool = False

    def memory(self) -> dict[str, proc.Memory]:
        """Return what its tiers hold now."""
        return {tier: proc.memory(root) for tier, root in self.tiers.items()}

    def rest(self) -> None:
        """Keep it still while others have their turn, if that is needed."""
        if self.frozen_when_idle:
            for root in self.tiers.values():
                proc.freeze(root)

    def wake(self) -> None:
        """Let it go on."""
        if self.frozen_when_idle:
            for root in self.tiers.values():
                proc.thaw(root)


@dataclass(frozen=True)
class Turn:
    """What came of one turn; times are milliseconds, CPU is milliseconds for each request."""

    latencies_ms: list[float] = field(repr=False)
    """Of the correct answers."""
    images_per_s: float
    errors: int
    """Answers that were not 200, not the expected detections, or none at all."""
    cpu_ms: dict[str, float]
    """By tier; nothing for the bare loop, which is one process: `all`."""
    client_cpu_ms: float = 0.0

    @property
    def p50_ms(self) -> float:
        """The median."""
        return percentile(self.latencies_ms, 50)

    @property
    def all_cpu_ms(self) -> float:
        """Of all tiers together."""
        return sum(self.cpu_ms.values())


@dataclass(frozen=True)
class Load:
    """What one run of the load client brought, and what the tiers took meanwhile."""

    samples: list[Sample]
    seconds: float
    client_cpu_s: float
    cpu_s: dict[str, float]


class Track:
    """Where contestants have their turns: the load client, the bare loop, and the picture."""

    def __init__(self, loader: JsonProcess, bare: JsonProcess, picture: Path) -> None:
        """Take two processes that are running."""
        self._loader = loader
        self._bare = bare
        self._picture = str(picture)

    def first_answer(self, contestant: Contestant) -> list[Any]:
        """Return the detections that a contestant finds; raises ProcessFailed."""
        found: list[Any] = self._loader.request(self._task(contestant.target))["data"]
        return found

    def start(self, target: Target, load: dict[str, Any]) -> None:
        """Begin a load; `finish` waits for it."""
        self._loader.send({**self._task(target), "load": load})

    def finish(self) -> tuple[list[Sample], float, float]:
        """Return the requests, the seconds, and the client's CPU seconds; raises ProcessFailed."""
        answer = self._loader.receive()
        samples = [Sample(*sample) for sample in answer["samples"]]
        return samples, answer["seconds"], answer["cpu_s"]

    def load(self, contestant: Contestant, target: Target, load: dict[str, Any]) -> Load:
        """Put a load on a contestant; raises ProcessFailed."""
        before = {tier: proc.cpu_s(root) for tier, root in contestant.tiers.items()}
        self.start(target, load)
        samples, seconds, client_cpu_s = self.finish()
        used = {tier: proc.cpu_s(root) - before[tier] for tier, root in contestant.tiers.items()}
        return Load(samples, seconds, client_cpu_s, used)

    def turn(self, contestant: Contestant, concurrency: int, seconds: float) -> Turn:
        """Let a contestant answer so many requests at a time; raises ProcessFailed."""
        contestant.wake()
        load = {"concurrency": concurrency, "seconds": seconds}
        done = self.load(contestant, contestant.target, load)
        contestant.rest()
        right = [sample.latency_ms for sample in done.samples if sample.correct]
        requests = max(1, len(done.samples))
        return Turn(
            right,
            len(right) / done.seconds,
            len(done.samples) - len(right),
            {tier: 1000 * used / requests for tier, used in done.cpu_s.items()},
            1000 * done.client_cpu_s / requests,
        )

    def bare_turn(self, *, alone: bool, seconds: float) -> Turn:
        """Let the bare loop work: on one picture at a time, or on as many as is fastest."""
        done = self._bare.request({"alone": alone, "seconds": seconds})
        times = done["times_ms"]
        cpu_ms = {"all": 1000 * done["cpu_s"] / len(times)}
        return Turn(times, len(times) / done["seconds"], 0, cpu_ms)

    def _task(self, target: Target) -> dict[str, Any]:
        return {"target": asdict(target), "picture": self._picture}
