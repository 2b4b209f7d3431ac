"""Measure what the live view costs: CPU of each tier with and without viewers, idle and under load.

    .venv/bin/python -m bench.live --viewers 3 --rate 20

Windows without and with viewers alternate. The last table calculates without network: what web does
for a poll of many processes.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import orjson

from elastic_yolo.detector.machine import describe_cpu
from elastic_yolo.lab.load.arrivals import Arrivals
from elastic_yolo.lab.load.picture_load import Load
from elastic_yolo.lab.processes.cpu_clock import cpu_s
from elastic_yolo.lab.processes.stack import ROOT, Stack
from elastic_yolo.tiers import TIERS
from services.common.core.live import EndpointAnswer, EndpointSnapshot, ProcessSnapshot, Tree
from services.common.observe.telemetry import SECONDS_BUCKETS
from services.common.peer.addresses import Address
from services.common.peer.exchange import Response
from services.common.peer.survey import Answer
from services.web.live.collector import PERIOD_S
from services.web.live.poll import merge
from services.web.live.view import View

_PICTURE = ROOT / "client" / "images" / "scene-01.jpg"
_SETTLE_S = 1.0
_MANY = (4, 12, 30, 100)
_LOOKS = 30


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.live", description=__doc__)
    parser.add_argument("--viewers", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--inference", type=int, default=3, help="processes (%(default)s)")
    parser.add_argument("--rate", type=float, default=20, help="pictures/s (%(default)s)")
    parser.add_argument("--seconds", type=float, default=6, help="of a window (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    parsed = parser.parse_args(arguments)
    print(f"{describe_cpu()}; {parsed.viewers} viewers, {parsed.inference} inference processes\n")
    print("| load | tier | CPU without viewers | with | more, in % of a core |")
    print("|---|---|---|---|---|")
    quiet = {"LOG_LEVEL": "warning"}
    env = {name: dict(quiet) for name in TIERS}
    env["inference"] |= {"THREADS": "1", "PRECISION": "fp32"}
    with Stack(copies=parsed.inference, env=env) as stack:
        for rate in (0.0, parsed.rate):
            without, watched = [], []
            for _ in range(parsed.rounds):
                without.append(_window(stack, rate, parsed.seconds))
                with _watching(stack.web.url, parsed.viewers):
                    watched.append(_window(stack, rate, parsed.seconds))
            for tier in TIERS:
                before, after = (
                    statistics.median(one[tier] for one in windows)
                    for windows in (without, watched)
                )
                print(
                    f"| {f'{rate:g} pictures/s' if rate else 'idle'} | {tier} "
                    f"| {before:.2%} | {after:.2%} | {after - before:+.2%} |"
                )
    print("\n| processes | web's time for a poll | of a core | sent to each viewer |")
    print("|---|---|---|---|")
    for count in _MANY:
        took_s, size = _time_polls(count)
        print(
            f"| {count} | {1000 * took_s:.1f} ms | {took_s / PERIOD_S:.2%} "
            f"| {size / 1024 / PERIOD_S:.0f} KB/s |"
        )


def _window(stack: Stack, rate: float, seconds: float) -> dict[str, float]:
    """Return the CPU of each tier, in cores, over some seconds."""
    time.sleep(_SETTLE_S)
    pids = [(one.name, one.process.pid) for one in stack.services]
    began = time.monotonic()
    before = {pid: cpu_s(pid) or 0.0 for _, pid in pids}
    if rate:
        load = Load(f"{stack.web.url}/inference", [_PICTURE.read_bytes()])
        asyncio.run(load.run(Arrivals("constant", rate, rate, seconds)))
    else:
        time.sleep(seconds)
    spent_s = time.monotonic() - began
    used = dict.fromkeys(TIERS, 0.0)
    for name, pid in pids:
        used[name] += ((cpu_s(pid) or 0.0) - before[pid]) / spent_s
    return used


@contextmanager
def _watching(url: str, viewers: int) -> Iterator[None]:
    """Keep streams open without reading their events: the kernel buffers them."""
    with ExitStack() as open_streams:
        client = open_streams.enter_context(httpx.Client())
        for _ in range(viewers):
            open_streams.enter_context(client.stream("GET", f"{url}/live/events"))
        yield


def _time_polls(count: int) -> tuple[float, int]:
    """Return seconds and bytes of a poll of processes, half of them inference."""
    fronts = count // 4
    view = View(may_load=False)
    durations = []
    size = 0
    for look in range(_LOOKS):
        own, webs, answers = _answers(count - fronts - fronts, fronts, look)
        began = time.process_time()
        seen = merge(own, webs, answers)
        changes = view.note(time.time(), view.fleet.update(time.time() + look, seen), {})
        size = len(orjson.dumps(view.tick(changes)))
        durations.append(time.process_time() - began)
    return statistics.median(durations), size


def _answers(
    behind: int, fronts: int, look: int
) -> tuple[ProcessSnapshot, list[Answer], list[Answer]]:
    inference = [_process("inference", number, look) for number in range(behind)]
    addresses = [f"10.2.{number // 250}.{number % 250}:4002" for number in range(behind)]
    endpoints = [
        EndpointSnapshot(peer="inference", address=one, state="serving", outstanding=2)
        for one in addresses
    ]
    below = [
        EndpointAnswer(address=address, process=one)
        for address, one in zip(addresses, inference, strict=True)
    ]
    webs = [_process("web", number, look) for number in range(fronts)]
    answers = []
    for number in range(fronts):
        own = _process("preprocess", number, look, endpoints=endpoints)
        body = Tree(process=own, behind=below) if number < 2 else own
        answers.append(_answer(f"10.1.0.{number}", body))
    return webs[0], [_answer(f"10.0.0.{n}", one) for n, one in enumerate(webs[1:])], answers


def _answer(ip: str, body: Tree | ProcessSnapshot) -> Answer:
    return Answer(Address(ip, 8000, ip), Response(200, {}, orjson.dumps(body.model_dump())))


def _process(service: str, number: int, look: int, **more: Any) -> ProcessSnapshot:
    return ProcessSnapshot(
        id=f"{service}{number}",
        service=service,
        host=f"{service}-5d4f8c7b9-{number:05}",
        port=4002,
        state="ready",
        age_s=100 + look * PERIOD_S,
        ready_s=99 + look * PERIOD_S,
        statuses={"200": 10 * look, "429": look},
        seconds=[(bound, 5 * look) for bound in SECONDS_BUCKETS],
        in_flight=3,
        queues={"queue": (1, 59)},
        cpu_s=0.3 * look,
        cpu_quota=1.0,
        **more,
    )


if __name__ == "__main__":
    main()
