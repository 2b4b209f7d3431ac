"""The cost of traces: no request, one in a hundred, and every request sampled.

`python -m bench.traces`; what came of it is in docs/traces.md.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path

from bench.pipeline.picture import make_picture
from client.percentile import percentile
from elastic_yolo.lab.load.client import Client, Sample
from elastic_yolo.lab.load.wire import Target
from elastic_yolo.lab.processes import process_tree as proc
from elastic_yolo.lab.processes.stack import DEMO_MODEL, LOOPBACK, Stack
from elastic_yolo.tiers import PORTS

# Which part of the requests is traced; None is without traces.
WAYS: dict[str, str | None] = {"off": None, "1 %": "0.01", "100 %": "1"}
CALLERS = 4
# Connections, caches, and the first picture of each process.
_WARM_UP_S = 1.0


@dataclass(frozen=True)
class Turn:
    """A few seconds of load; CPU is in milliseconds per picture, by tier."""

    pictures_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms: dict[str, float]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the settings in turns, each first once: other load affects all of them equally."""
    options = _parse(arguments)
    turns: dict[str, list[Turn]] = {name: [] for name in WAYS}
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        picture = make_picture(folder).read_bytes()
        port = running.enter_context(_collector())
        stacks = {
            name: running.enter_context(_stack(options.model, _env(port, part)))
            for name, part in WAYS.items()
        }
        for stack in stacks.values():
            _load(stack, picture, _WARM_UP_S)
        for number in range(options.turns):
            first = number % len(WAYS)
            for name in (*list(WAYS)[first:], *list(WAYS)[:first]):
                turns[name].append(_load(stacks[name], picture, options.seconds))
            print(f"turn {number + 1} of {options.turns}", flush=True)
    print(_table(turns))


def _load(stack: Stack, picture: bytes, seconds: float) -> Turn:
    before = {service.name: proc.cpu_s(service.process.pid) for service in stack.services}
    samples = asyncio.run(_ask(Target(f"{stack.web.url}/inference"), picture, seconds))
    spent = {
        service.name: proc.cpu_s(service.process.pid) - before[service.name]
        for service in stack.services
    }
    latencies = [sample.latency_ms for sample in samples if sample.correct]
    assert len(latencies) == len(samples), "every picture is answered"
    return Turn(
        pictures_per_s=len(samples) / seconds,
        p50_ms=percentile(latencies, 50),
        p99_ms=percentile(latencies, 99),
        cpu_ms={name: 1000 * cpu_s / len(samples) for name, cpu_s in spent.items()},
    )


async def _ask(target: Target, picture: bytes, seconds: float) -> list[Sample]:
    client = Client(target, picture)
    try:
        return await client.closed_loop(CALLERS, seconds)
    finally:
        client.close()


def _stack(model: Path, env: dict[str, str]) -> Stack:
    return Stack(model=model, env={name: {"LOG_LEVEL": "warning", **env} for name in PORTS})


def _env(port: int, part: str | None) -> dict[str, str]:
    if part is None:
        return {"OTEL_SDK_DISABLED": "true"}
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{LOOPBACK}:{port}",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": part,
    }


@contextmanager
def _collector() -> Iterator[int]:
    """Run a receiver in a separate process and yield its port; it discards everything."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=_receive, args=(there,), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        process.terminate()
        process.join()


def _receive(parent: Connection) -> None:
    server = ThreadingHTTPServer((LOOPBACK, 0), _Discard)
    parent.send(server.server_port)
    server.serve_forever()


class _Discard(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def _table(turns: dict[str, list[Turn]]) -> str:
    tiers = list(reversed(PORTS))
    head = ["traced", "pictures/s", "p50 ms", "p99 ms", *(f"{tier} CPU ms" for tier in tiers)]
    rows = [f"| {' | '.join(head)} |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for name, taken in turns.items():
        figures = [
            f"{statistics.median(turn.pictures_per_s for turn in taken):.0f}",
            f"{statistics.median(turn.p50_ms for turn in taken):.1f}",
            f"{statistics.median(turn.p99_ms for turn in taken):.1f}",
        ]
        figures += [
            f"{statistics.median(turn.cpu_ms[tier] for turn in taken):.2f}" for tier in tiers
        ]
        rows.append(f"| {' | '.join([name, *figures])} |")
    return "\n".join(rows)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.traces", description="Measure what traces cost, on loopback."
    )
    parser.add_argument("--model", type=Path, default=DEMO_MODEL, help="model folder")
    parser.add_argument("--turns", type=int, default=7, help="turns of each way (default: 7)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each turn (default: 4)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
