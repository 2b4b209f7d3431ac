"""How long the inference service takes from its process to ready, and where the time goes."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elastic_yolo.lab.processes.stack import Service, free_port


@dataclass(frozen=True)
class Start:
    """Medians in milliseconds: all of it as a balancer sees it, and the phases of it."""

    model: str
    precision: str
    ready_ms: float
    phases_ms: dict[str, float]

    def line(self) -> str:
        """Return a line for the terminal."""
        parts = ", ".join(f"{name} {value:.0f}" for name, value in self.phases_ms.items())
        return f"{self.precision:<9} {self.ready_ms:6.0f}  {parts}"


def measure_start(model: Path, precision: str, cache: Path, rounds: int) -> Start:
    """Start the service on the CPU so many times, after once to fill the cache.

    The precision that is reported is the one that it ran in: a CPU may not have the wanted one.
    """
    _start_once(model, precision, cache)
    times, logged = zip(*(_start_once(model, precision, cache) for _ in range(rounds)), strict=True)
    phases = [line["start_ms"] for line in logged]
    medians = {name: statistics.median(phase[name] for phase in phases) for name in phases[0]}
    return Start(model.name, logged[0]["precision"], round(statistics.median(times), 1), medians)


def _start_once(model: Path, precision: str, cache: Path) -> tuple[float, dict[str, Any]]:
    """Return the milliseconds until it was ready, and what it logged about its model."""
    environment = {
        # The service works in another folder than the one these may be relative to.
        "MODEL_PATH": str(model.resolve()),
        "CACHE_DIR": str(cache.resolve()),
        "PRECISION": precision,
        # Whatever the environment of the benchmark says.
        "ENGINE": "auto",
        "DEVICE": "cpu",
        "LOG_LEVEL": "info",
    }
    with tempfile.NamedTemporaryFile(prefix="elastic-yolo-") as log:
        started = time.perf_counter()
        with Service("inference", free_port(), environment, Path(log.name)) as service:
            service.wait_ready()
            ready_ms = (time.perf_counter() - started) * 1000
        lines = Path(log.name).read_text(encoding="utf-8").splitlines()
    # Libraries may write lines of their own, which are no JSON.
    return ready_ms, next(json.loads(line) for line in lines if '"start_ms"' in line)
