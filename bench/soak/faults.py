"""Faults: a killed, a frozen or a drained process, or a new version of the model."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from random import Random

from bench.soak.fleet import LABELS, Fleet, Member
from bench.soak.judgement import Circumstances, Verdict
from bench.soak.tally import FAULT_PREFIX, Tally
from elastic_yolo.lab.processes import process_tree
from elastic_yolo.lab.processes.stack import StackError

# A caller that connects as a process ends or begins may notice that a little later.
_MARGIN_S = 2.0
# A status may tell of a check that is five seconds old.
_AFTERWARDS_S = 7.0
_FROZEN_S = (2.0, 9.0)


@dataclass
class Window:
    """When a fault was in a process, in time.monotonic(); the end is open at first."""

    name: str
    begin: float
    end: float = float("inf")

    def touches(self, begin: float, end: float, margin_s: float) -> bool:
        """Return whether the fault was there between two moments, or within a margin of them."""
        return self.begin - margin_s < end and begin < self.end + margin_s


@dataclass
class Windows:
    """The windows of all faults."""

    _all: list[Window] = field(default_factory=list)

    def during(self, begin: float, end: float, name: str) -> Circumstances:
        """Return what was faulty between two moments, for a request to the process `name`."""
        return Circumstances(
            any_fault=any(one.touches(begin, end, _AFTERWARDS_S) for one in self._all),
            own_fault=any(
                one.name == name and one.touches(begin, end, _MARGIN_S) for one in self._all
            ),
        )

    @contextmanager
    def fault_in(self, name: str) -> Iterator[None]:
        """Note a fault for the block."""
        window = Window(name, time.monotonic())
        self._all.append(window)
        try:
            yield
        finally:
            window.end = time.monotonic()


class Faults:
    """Causes one fault after the other; each waits until all is well again."""

    def __init__(self, fleet: Fleet, tally: Tally, rng: Random, pause_s: float) -> None:
        """Leave about `pause_s` seconds without a fault between two."""
        self.windows = Windows()
        self.ending: str | None = None
        """The process that is ended on purpose at the moment."""
        self._fleet = fleet
        self._tally = tally
        self._rng = rng
        self._pause_s = pause_s

    async def run(self, stop: asyncio.Event) -> None:
        """Cause faults until `stop` is set; the last one comes to its end."""
        kinds = (self._kill, self._freeze, self._drain, self._switch)
        while True:
            # All kinds in turn, in a new order each time: a short run has each.
            for kind in self._rng.sample(kinds, len(kinds)):
                pause_s = self._rng.uniform(0.5, 1.5) * self._pause_s
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), pause_s)
                if stop.is_set():
                    return
                await self._cause(kind)

    async def _cause(self, kind: Callable[[Member], Awaitable[str]]) -> None:
        # The first process of each tier is never ended, so that it shows what grows slowly.
        freezing = kind == self._freeze
        member = self._rng.choice(self._fleet.inner if freezing else self._fleet.replaceable)
        try:
            why = await kind(member)
        except (StackError, TimeoutError, OSError) as error:
            why = str(error) or type(error).__name__
        verdict = Verdict.UNEXPECTED if why else Verdict.ANSWERED
        name = FAULT_PREFIX + kind.__name__.strip("_")
        self._tally.add(name, verdict, why, f"in {member.name}")

    async def _kill(self, member: Member) -> str:
        with self._ending(member):
            member.kill()
            await self._replace(member)
        return ""

    async def _drain(self, member: Member) -> str:
        with self._ending(member):
            status = await member.stop()
            await self._replace(member)
        return "" if status == 0 else f"a drain ended with status {status}"

    async def _freeze(self, member: Member) -> str:
        with self.windows.fault_in(member.name):
            process_tree.freeze(member.service.process.pid)
            try:
                await asyncio.sleep(self._rng.uniform(*_FROZEN_S))
            finally:
                member.service.process.send_signal(signal.SIGCONT)
            await member.wait_ready()
        return ""

    async def _switch(self, _member: Member) -> str:
        other = next(version for version in LABELS if version != self._fleet.version)
        # Nothing may notice: no window.
        await self._fleet.switch_version(other)
        return ""

    async def _replace(self, member: Member) -> None:
        member.start()
        await member.wait_ready()

    @contextmanager
    def _ending(self, member: Member) -> Iterator[None]:
        self.ending = member.name
        try:
            with self.windows.fault_in(member.name):
                yield
        finally:
            self.ending = None
