"""Let contestants take turns, so that a machine that drifts drifts for all of them."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.contestants import Contestant
from tools.stack import ROOT


@dataclass(frozen=True)
class Row:
    """What was measured of one contestant; times are those of one step, medians of rounds."""

    engine: str
    device: str
    precision: str
    batch: int
    median_ms: float
    lowest_ms: float
    highest_ms: float
    images_per_s: float
    gflop_per_s: float
    ready_s: float


@dataclass(frozen=True)
class Hello:
    """What a contestant says when it is ready: the seconds that took, and the FLOP of a step."""

    ready_s: float
    flop: int


class ContestantFailed(Exception):
    """A contestant's process ended; the message has its last words."""


class _Process:
    def __init__(
        self, contestant: Contestant, model: Path, threads: int, cache: Path | None
    ) -> None:
        task = {
            "contestant": asdict(contestant),
            # The process works in another folder than the one these may be relative to.
            "model": str(model.resolve()),
            "threads": threads,
            "cache": None if cache is None else str(cache.resolve()),
        }
        self.contestant = contestant
        self._process = subprocess.Popen(  # noqa: S603  # our own interpreter, our own module
            [sys.executable, "-m", "bench.worker", json.dumps(task)],
            cwd=ROOT,
            # numpy's matrix product looks here.
            env={**os.environ, "OPENBLAS_NUM_THREADS": str(threads)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def greet(self) -> Hello:
        """Wait until it is ready; raises ContestantFailed."""
        answer = self._read("ended while it got ready")
        assert isinstance(answer, dict)
        return Hello(**answer)

    def ask(self, seconds: float) -> list[float]:
        """Let it work for so many seconds and return the milliseconds of every step.

        Raises ContestantFailed.
        """
        assert self._process.stdin
        # Of a process that is gone, the missing answer says so.
        with suppress(BrokenPipeError):
            self._process.stdin.write(f"{seconds}\n")
            self._process.stdin.flush()
        answer = self._read("ended while it was measured")
        assert isinstance(answer, list)
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _read(self, ended: str) -> object:
        """Return the next answer; raises ContestantFailed, with `ended` if nothing says more."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line.endswith("\n"):
            _, words = self._process.communicate()
            # One that was killed had no say: its last words are about something else.
            last = words.strip().splitlines()[-1:] if self._process.returncode > 0 else []
            raise ContestantFailed(f"{self.contestant.label}: {(last or [ended])[0]}")
        return json.loads(line)


@dataclass
class _Runner:
    """A contestant that is ready, and its median in every round so far."""

    process: _Process
    hello: Hello
    medians: list[float] = field(default_factory=list)

    def run(self, seconds: float) -> None:
        """Take part in a round; raises ContestantFailed."""
        self.medians.append(statistics.median(self.process.ask(seconds)))


def compete(
    contestants: Sequence[Contestant],
    model: Path,
    *,
    threads: int,
    cache: Path | None,
    rounds: int,
    seconds: float,
    progress: Callable[[str], None],
) -> list[Row]:
    """Measure all contestants in rounds of `seconds` each; leave out those that fail."""
    with ExitStack() as stack:
        runners: list[_Runner] = []
        for contestant in contestants:
            process = _Process(contestant, model, threads, cache)
            stack.callback(process.close)
            with _left_out(progress):
                runners.append(_Runner(process, process.greet()))
                progress(f"ready: {contestant.label}")
        for number in range(rounds):
            progress(f"round {number + 1} of {rounds}")
            for runner in runners:
                with _left_out(progress):
                    runner.run(seconds)
            runners = [runner for runner in runners if len(runner.medians) > number]
    return [_row(runner.process.contestant, runner.medians, runner.hello) for runner in runners]


@contextmanager
def _left_out(progress: Callable[[str], None]) -> Iterator[None]:
    """Say that a contestant which fails is left out, and go on."""
    try:
        yield
    except ContestantFailed as error:
        progress(f"left out: {error}")


def _row(contestant: Contestant, times: list[float], hello: Hello) -> Row:
    median = statistics.median(times)
    return Row(
        engine=contestant.engine,
        device=contestant.device,
        precision=contestant.precision,
        batch=contestant.batch,
        median_ms=round(median, 3),
        lowest_ms=round(min(times), 3),
        highest_ms=round(max(times), 3),
        images_per_s=round(1000 * contestant.batch / median, 2),
        gflop_per_s=round(hello.flop / median / 1e6, 1),
        ready_s=round(hello.ready_s, 2),
    )
