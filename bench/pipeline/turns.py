"""Turns: a candidate under load for a few seconds, then the bare loop for as long."""

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
class Candidate:
    """A server that detects objects over HTTP."""

    name: str
    setting: str
    """Its processes, threads and streams, in words."""
    target: Target
    tiers: dict[str, int]
    """Its tiers, each with the id of its first process."""
    frozen_when_idle: bool = False

    def memory(self) -> dict[str, proc.Memory]:
        """Return the memory of its tiers."""
        return {tier: proc.memory(root) for tier, root in self.tiers.items()}

    def pause(self) -> None:
        """Stop its processes during other turns, if it needs that."""
        if self.frozen_when_idle:
            for root in self.tiers.values():
                proc.freeze(root)

    def resume(self) -> None:
        """Continue its processes."""
        if self.frozen_when_idle:
            for root in self.tiers.values():
                proc.thaw(root)


@dataclass(frozen=True)
class Turn:
    """The result of one turn; times in milliseconds, CPU in milliseconds per request."""

    latencies_ms: list[float] = field(repr=False)
    """Of the correct responses."""
    images_per_s: float
    errors: int
    """Responses other than 200, wrong detections, and lost requests."""
    cpu_ms: dict[str, float]
    """By tier; the bare loop is one process, `all`."""
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
    """The result of one run of the load client, and the CPU of the tiers meanwhile."""

    samples: list[Sample]
    seconds: float
    client_cpu_s: float
    cpu_s: dict[str, float]


class TurnRunner:
    """Runs turns: it has the load client, the bare loop, and the picture."""

    def __init__(self, loader: JsonProcess, bare: JsonProcess, picture: Path) -> None:
        """Take two running processes."""
        self._loader = loader
        self._bare = bare
        self._picture = str(picture)

    def first_detections(self, candidate: Candidate) -> list[Any]:
        """Return a candidate's detections; raises ProcessFailed."""
        found: list[Any] = self._loader.request(self._task(candidate.target))["data"]
        return found

    def start(self, target: Target, load: dict[str, Any]) -> None:
        """Begin a load; `finish` waits for it."""
        self._loader.send({**self._task(target), "load": load})

    def finish(self) -> tuple[list[Sample], float, float]:
        """Return the requests, the seconds, and the client's CPU seconds; raises ProcessFailed."""
        answer = self._loader.receive()
        samples = [Sample(*sample) for sample in answer["samples"]]
        return samples, answer["seconds"], answer["cpu_s"]

    def load(self, candidate: Candidate, target: Target, load: dict[str, Any]) -> Load:
        """Put a load on a candidate; raises ProcessFailed."""
        before = {tier: proc.cpu_s(root) for tier, root in candidate.tiers.items()}
        self.start(target, load)
        samples, seconds, client_cpu_s = self.finish()
        used = {tier: proc.cpu_s(root) - before[tier] for tier, root in candidate.tiers.items()}
        return Load(samples, seconds, client_cpu_s, used)

    def turn(self, candidate: Candidate, concurrency: int, seconds: float) -> Turn:
        """Put a closed loop of requests on a candidate; raises ProcessFailed."""
        candidate.resume()
        load = {"concurrency": concurrency, "seconds": seconds}
        done = self.load(candidate, candidate.target, load)
        candidate.pause()
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
        """Run the bare loop: alone on one picture at a time, or in its fastest setting."""
        done = self._bare.request({"alone": alone, "seconds": seconds})
        times = done["times_ms"]
        cpu_ms = {"all": 1000 * done["cpu_s"] / len(times)}
        return Turn(times, len(times) / done["seconds"], 0, cpu_ms)

    def _task(self, target: Target) -> dict[str, Any]:
        return {"target": asdict(target), "picture": self._picture}
