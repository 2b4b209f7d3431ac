"""A run: requests when they are due, faults beside them, samples of memory, and the result."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from bench.soak.drawings import take_drawings
from bench.soak.exchange import Callers, Request
from bench.soak.faults import Faults
from bench.soak.fleet import LABELS, MODEL, Fleet
from bench.soak.judgement import Rule, Verdict, judge
from bench.soak.kinds import KINDS, Planned, World
from bench.soak.resources import Life, Limits, find_growth, read_usage
from bench.soak.samples import make_samples, make_tensor
from bench.soak.tally import Tally
from elastic_yolo.lab.processes.log_lines import LogFollower
from elastic_yolo.lab.processes.stack import DEMO_MODEL, ROOT

PICTURES = ROOT / "client" / "images"
_SAMPLE_S = 2.0
_TICK_S = 0.02


@dataclass(frozen=True)
class Plan:
    """What is run; two runs of one plan send the same requests in the same order."""

    seconds: float
    seed: int
    rate: float
    """Requests a second."""
    concurrency: int
    """Requests at a time; one that is due beyond that is never sent."""
    warm_up_s: float
    """Of each process; its growth counts from there."""
    fault_pause_s: float
    """Mean time between two faults; 0 for no faults."""
    limits: Limits = field(default_factory=Limits)


@dataclass
class Result:
    """What a run has shown."""

    plan: Plan
    tally: Tally = field(default_factory=Tally)
    lives: list[Life] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def grown(self) -> list[str]:
        """The processes that grew beyond the limits, in words."""
        return find_growth(self.lives, self.plan.warm_up_s, self.plan.limits)

    @property
    def passed(self) -> bool:
        """Whether something was sent, nothing failed, and no process grew."""
        return bool(self.tally.total()) and not self.tally.failures and not self.grown


Show = Callable[[Result], None]


async def make_world(fleet: Fleet) -> World:
    """Compute what is expected, while the fleet starts; raises StackError or TimeoutError."""
    samples = await asyncio.to_thread(make_samples, PICTURES, DEMO_MODEL, LABELS)
    tensor = await asyncio.to_thread(make_tensor, samples[0].content, DEMO_MODEL, LABELS)
    await fleet.wait_ready()
    drawings = await take_drawings(fleet, samples)
    return World(
        web=fleet.web.address,
        preprocess=[member.address for member in fleet.preprocess],
        inference=[member.address for member in fleet.inference],
        model=MODEL,
        ensemble=f"ensemble:{MODEL}+second",
        samples=samples,
        tensor=tensor,
        drawn_right=drawings.is_right,
    )


def plan_request(world: World, seed: int, number: int) -> tuple[str, Planned]:
    """Return the kind of a request, the request and its rule: the same for the same numbers."""
    # One for each request: what it is does not depend on which others were sent.
    rng = Random(f"{seed}:{number}")  # noqa: S311
    (kind,) = rng.choices(list(KINDS), list(KINDS.values()))
    return kind.__name__.replace("_", " "), kind(world, rng)


class Soak:
    """One run against a fleet that is up."""

    def __init__(self, plan: Plan, fleet: Fleet, world: World, show: Show) -> None:
        """Prepare; nothing is sent. `show` gets the result so far after each sample."""
        self._plan = plan
        self._fleet = fleet
        self._world = world
        self._show = show
        self._result = Result(plan)
        self._callers = Callers()
        rng = Random(f"{plan.seed}:faults")  # noqa: S311
        self._faults = Faults(fleet, self._result.tally, rng, plan.fault_pause_s)
        self._lives: dict[int, Life] = {}
        self._logs = {
            member.name: LogFollower(member.service.log)
            for member in fleet.members
            if member.service.log is not None
        }
        self._in_flight: set[asyncio.Task[None]] = set()
        self._start = 0.0

    async def run(self, stop: asyncio.Event) -> Result:
        """Send requests until the time is over or `stop` is set; a process that ends sets it."""
        self._start = time.monotonic()
        calm = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(self._watch(stop))
            faulting = (
                tasks.create_task(self._faults.run(calm)) if self._plan.fault_pause_s else None
            )
            await self._send_when_due(stop)
            calm.set()
            if faulting is not None:
                await faulting
            while self._in_flight:
                await asyncio.wait(self._in_flight)
            self._callers.close()
            watching.cancel()
        self._sample()
        return self._result

    async def _send_when_due(self, stop: asyncio.Event) -> None:
        number = 0
        while (at_s := self._now_s()) < self._plan.seconds and not stop.is_set():
            while number < at_s * self._plan.rate:
                self._begin(number)
                number += 1
            await asyncio.sleep(_TICK_S)

    def _begin(self, number: int) -> None:
        if len(self._in_flight) >= self._plan.concurrency:
            self._result.tally.never_sent += 1
            return
        name, (request, rule) = plan_request(self._world, self._plan.seed, number)
        task = asyncio.create_task(self._send(name, number, request, rule))
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)

    async def _send(self, kind: str, number: int, request: Request, rule: Rule) -> None:
        begin = time.monotonic()
        reply = await self._callers.send(request)
        during = self._faults.windows.during(begin, time.monotonic(), request.to.name)
        verdict, why = await asyncio.to_thread(judge, rule, reply, during)
        where = f"(number {number}, to {request.to.name} at {begin - self._start:.1f} s)"
        self._result.tally.add(kind, verdict, why, where)

    async def _watch(self, stop: asyncio.Event) -> None:
        while True:
            await asyncio.to_thread(self._sample)
            for member in self._fleet.find_ended():
                if member.name != self._faults.ending and not stop.is_set():
                    why = member.service.describe_end()
                    self._result.tally.add("process", Verdict.UNEXPECTED, why, member.name)
                    stop.set()
            self._show(self._result)
            await asyncio.sleep(_SAMPLE_S)

    def _sample(self) -> None:
        self._result.seconds = now_s = self._now_s()
        for member in self._fleet.members:
            pid = member.service.process.pid
            usage = read_usage(pid)
            if usage is None:
                continue
            if pid not in self._lives:
                self._lives[pid] = Life(member.name, pid, now_s)
                self._result.lives.append(self._lives[pid])
            self._lives[pid].samples.append((now_s, usage))
        for name, log in self._logs.items():
            for event in log.read_events():
                if event["event"] == "unexpected error":
                    text = str(event)[-400:]
                    self._result.tally.add("log", Verdict.UNEXPECTED, text, f"of {name}")

    def _now_s(self) -> float:
        return time.monotonic() - self._start
