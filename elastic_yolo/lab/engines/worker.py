"""The process of one configuration: it loads the configuration, then measures on request.

Two inference runtimes in one process would compete with busy-waiting threads, so each has its own.
The process writes JSON lines: first `{"ready_s": ..., "flop": ...}`, then a list of milliseconds
for every line on its standard input, which is a number of seconds.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from elastic_yolo.detector.errors import DetectorError
from elastic_yolo.lab.engines.configs import EngineConfig, Step, prepare

_WARM_UPS = 2


def main() -> None:
    """Measure one configuration until standard input ends."""
    task = json.loads(sys.argv[1])
    started = time.perf_counter()
    config, cache = EngineConfig(**task["config"]), _path(task["cache"])
    try:
        work = prepare(config, Path(task["model"]), task["threads"], cache)
    except DetectorError as error:
        raise SystemExit(str(error)) from None
    for _ in range(_WARM_UPS):
        work.step()
    _write({"ready_s": time.perf_counter() - started, "flop": work.flop})
    for line in sys.stdin:
        _write(_measure(work.step, float(line)))


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _measure(step: Step, seconds: float) -> list[float]:
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        started = time.perf_counter()
        step()
        times.append((time.perf_counter() - started) * 1000)
    return times


def _write(value: object) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main()
