"""The start-up time of the inference service, from process start to ready, by phase."""

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
    """Medians in milliseconds: the total until `/readyz` answers 200, and the logged phases."""

    model: str
    precision: str
    ready_ms: float
    phases_ms: dict[str, float]

    def line(self) -> str:
        """Return a line for the terminal."""
        parts = ", ".join(f"{name} {value:.0f}" for name, value in self.phases_ms.items())
        return f"{self.precision:<9} {self.ready_ms:6.0f}  {parts}"


def measure_start(model: Path, precision: str, cache: Path, rounds: int) -> Start:
    """Start the service on the CPU `rounds` times, after one start that fills the cache.

    The reported precision is the one that was used: a CPU may not support the requested one.
    """
    _start_once(model, precision, cache)
    times, logged = zip(*(_start_once(model, precision, cache) for _ in range(rounds)), strict=True)
    phases = [line["start_ms"] for line in logged]
    medians = {name: statistics.median(phase[name] for phase in phases) for name in phases[0]}
    return Start(model.name, logged[0]["precision"], round(statistics.median(times), 1), medians)


def _start_once(model: Path, precision: str, cache: Path) -> tuple[float, dict[str, Any]]:
    """Return the milliseconds until ready, and the log line about the model."""
    environment = {
        # Relative paths: the service runs in another folder.
        "MODEL_PATH": str(model.resolve()),
        "CACHE_DIR": str(cache.resolve()),
        "PRECISION": precision,
        # Overrides the environment of the benchmark.
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
    # Libraries may write lines that are not JSON.
    return ready_ms, next(json.loads(line) for line in lines if '"start_ms"' in line)
