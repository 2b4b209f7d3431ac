"""Configurations take turns, so that changes of the machine's speed affect all of them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from elastic_yolo.lab.engines.configs import EngineConfig
from elastic_yolo.lab.processes.json_process import JsonProcess, ProcessFailed


@dataclass(frozen=True)
class Row:
    """The results of one configuration; times are of one step, medians of rounds."""

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
class FirstMessage:
    """A configuration's first message: its start-up time in seconds, and the FLOP of a step."""

    ready_s: float
    flop: int


@dataclass
class _Runner:
    """A ready configuration, and its median in every round so far."""

    config: EngineConfig
    process: JsonProcess
    first_message: FirstMessage
    medians: list[float] = field(default_factory=list)

    def run(self, seconds: float) -> None:
        """Measure for `seconds`; raises ProcessFailed."""
        times = self.process.request(seconds, "ended while it was measured")
        self.medians.append(statistics.median(times))


def compete(
    configs: Sequence[EngineConfig],
    model: Path,
    *,
    threads: int,
    cache: Path | None,
    rounds: int,
    seconds: float,
    progress: Callable[[str], None],
) -> list[Row]:
    """Measure all configurations in rounds of `seconds` each; those that fail are omitted."""
    with ExitStack() as stack:
        runners: list[_Runner] = []
        for config in configs:
            process = stack.enter_context(_start(config, model, threads, cache))
            with _left_out(progress):
                first_message = FirstMessage(**process.receive("ended at start"))
                runners.append(_Runner(config, process, first_message))
                progress(f"ready: {config.label}")
        for number in range(rounds):
            progress(f"round {number + 1} of {rounds}")
            for runner in runners:
                with _left_out(progress):
                    runner.run(seconds)
            runners = [runner for runner in runners if len(runner.medians) > number]
    return [_row(runner.config, runner.medians, runner.first_message) for runner in runners]


def _start(config: EngineConfig, model: Path, threads: int, cache: Path | None) -> JsonProcess:
    task = {
        "config": asdict(config),
        # Relative paths: the process runs in another folder.
        "model": str(model.resolve()),
        "threads": threads,
        "cache": None if cache is None else str(cache.resolve()),
    }
    return JsonProcess(
        "elastic_yolo.lab.engines.worker",
        json.dumps(task),
        name=config.label,
        # Read by numpy's matrix product.
        environment={"OPENBLAS_NUM_THREADS": str(threads)},
    )


@contextmanager
def _left_out(progress: Callable[[str], None]) -> Iterator[None]:
    """Report a configuration that fails, and continue without it."""
    try:
        yield
    except ProcessFailed as error:
        progress(f"left out: {error}")


def _row(config: EngineConfig, times: list[float], first_message: FirstMessage) -> Row:
    median = statistics.median(times)
    return Row(
        engine=config.engine,
        device=config.device,
        precision=config.precision,
        batch=config.batch,
        median_ms=round(median, 3),
        lowest_ms=round(min(times), 3),
        highest_ms=round(max(times), 3),
        images_per_s=round(1000 * config.batch / median, 2),
        gflop_per_s=round(first_message.flop / median / 1e6, 1),
        ready_s=round(first_message.ready_s, 2),
    )
