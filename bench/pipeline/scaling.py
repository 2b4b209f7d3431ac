"""From one inference process to three and back, under load: how soon they serve, what is lost.

The addresses of all three are in INFERENCE_URL from the start. Two processes start later; one of
them is killed, the other is stopped with SIGTERM, as Kubernetes would stop it.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.pipeline.compare import BUSY
from bench.pipeline.services import inference_settings
from bench.pipeline.turns import TurnRunner
from elastic_yolo.lab.load.wire import Target
from elastic_yolo.lab.processes.stack import Service, Stack
from elastic_yolo.progress import print_status

LOAD_S = 30.0
"""The duration of the load, which includes all steps."""
FAIR = 0.8
"""A process takes part if it serves this part of an equal share."""
_PROCESSES = 3
_TICK_S = 0.1
_WINDOW_S = 0.5
_WATCH_S = 5.0
_ANSWERED = re.compile(r"elastic_yolo_requests_total\{.*/infer\".*\} (\S+)")
_RETRIED = re.compile(r"elastic_yolo_peer_retries_total\{.*\} (\S+)")


@dataclass(frozen=True)
class ScalingResult:
    """The results. Seconds count from when a new process was ready."""

    fair_after_s: list[float | None]
    """To the end of the first half second with a fair share, by new process; None for never."""
    shares: list[float]
    """Shares of all processes, the old one first, after they have settled."""
    one_per_s: float
    three_per_s: float
    """Pictures per second of one process, and of all three."""
    sent_once_more: int
    """Requests that were retried on another process after one was killed."""
    answers: int
    failed: int
    """Responses other than 200 with the expected detections."""


@dataclass(frozen=True)
class Count:
    """The pictures that each process has served at a moment, in seconds."""

    at_s: float
    answered: list[float]


def measure_scaling(
    runner: TurnRunner, model: Path, cache: Path, precision: str, threshold: float, logs: Path
) -> ScalingResult:
    """Start and stop inference processes under load; raises StackError or ProcessFailed."""
    with _one_of_three(model, cache, precision, logs) as up, ExitStack() as more:
        target = Target(f"{up.web.url}/inference?threshold={threshold}")
        end = time.monotonic() + LOAD_S
        runner.start(target, {"concurrency": BUSY, "seconds": LOAD_S})
        alone = list(_watch([up.inference], _WATCH_S / 2))
        new = [more.enter_context(service) for service in up.copies]
        ready_s = _wait_ready(new)
        counts = list(_watch([up.inference, *up.copies], _WATCH_S))
        _kill(new[1])
        time.sleep(_WATCH_S / 2)
        again = retried(up.preprocess)
        new[0].stop()
        if time.monotonic() > end:
            print_status("the load ended before all steps were done: this machine is too slow")
        samples, _, _ = runner.finish()
    settled = counts[len(counts) // 2]
    return ScalingResult(
        fair_after_s=[fair_after_s(counts, number + 1, at) for number, at in enumerate(ready_s)],
        shares=_shares(settled, counts[-1]),
        one_per_s=_per_s(alone[0], alone[-1]),
        three_per_s=_per_s(settled, counts[-1]),
        sent_once_more=round(again),
        answers=len(samples),
        failed=sum(not sample.correct for sample in samples),
    )


def fair_after_s(counts: Sequence[Count], number: int, ready_s: float) -> float | None:
    """Return when process `number` first served its share in half a second, after `ready_s`."""
    span = round(_WINDOW_S / _TICK_S)
    for first, last in zip(counts, counts[span:], strict=False):
        share = _shares(first, last)[number]
        if last.at_s > ready_s and share >= FAIR / len(last.answered):
            return last.at_s - ready_s
    return None


def _shares(first: Count, last: Count) -> list[float]:
    answered = [after - before for before, after in zip(first.answered, last.answered, strict=True)]
    return [one / max(1.0, sum(answered)) for one in answered]


def _per_s(first: Count, last: Count) -> float:
    return (sum(last.answered) - sum(first.answered)) / (last.at_s - first.at_s)


@contextmanager
def _one_of_three(model: Path, cache: Path, precision: str, logs: Path) -> Iterator[Stack]:
    # Like a pod with a CPU limit of one: three of them share the cores.
    settings = {**inference_settings(cache, precision), "THREADS": "1"}
    stack = Stack(model=model.resolve(), copies=_PROCESSES, logs=logs, env={"inference": settings})
    first = (stack.inference, stack.preprocess, stack.web)
    with ExitStack() as running:
        for service in first:
            running.enter_context(service)
        for service in first:
            service.wait_ready()
        yield stack


def _wait_ready(services: Sequence[Service]) -> list[float]:
    """Return when each was ready, in order: a later one is never recorded too early."""
    at_s = []
    for service in services:
        service.wait_ready()
        at_s.append(time.monotonic())
    return at_s


def _watch(services: Sequence[Service], seconds: float) -> Iterator[Count]:
    until = time.monotonic() + seconds
    while (now := time.monotonic()) < until:
        yield Count(now, [answered(service) for service in services])
        time.sleep(max(0.0, now + _TICK_S - time.monotonic()))


def _kill(service: Service) -> None:
    service.process.send_signal(signal.SIGKILL)
    service.process.wait()


def answered(service: Service) -> float:
    """Return how many pictures an inference process has served."""
    return _metric(service, _ANSWERED)


def retried(service: Service) -> float:
    """Return how many requests a process has retried."""
    return _metric(service, _RETRIED)


def _metric(service: Service, pattern: re.Pattern[str]) -> float:
    return sum(float(value) for value in pattern.findall(service.get("/metrics").decode()))
