"""How long the inference service takes from its process to ready, and where the time goes."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tools.stack import Service, free_port


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
    """Start the service so many times, after once to fill the cache."""
    _start_once(model, precision, cache)
    times, phases = zip(*(_start_once(model, precision, cache) for _ in range(rounds)), strict=True)
    medians = {name: statistics.median(phase[name] for phase in phases) for name in phases[0]}
    return Start(model.name, precision, round(statistics.median(times), 1), medians)


def _start_once(model: Path, precision: str, cache: Path) -> tuple[float, dict[str, int]]:
    environment = {
        "MODEL_PATH": str(model),
        "PRECISION": precision,
        "CACHE_DIR": str(cache),
        "LOG_FORMAT": "json",
    }
    with tempfile.NamedTemporaryFile(prefix="elastic-yolo-") as log:
        started = time.perf_counter()
        with Service("inference", free_port(), environment, Path(log.name)) as service:
            service.wait_ready()
            ready_ms = (time.perf_counter() - started) * 1000
        lines = [json.loads(line) for line in Path(log.name).read_text().splitlines()]
    return ready_ms, next(line["start_ms"] for line in lines if "start_ms" in line)
