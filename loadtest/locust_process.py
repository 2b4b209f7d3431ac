"""Locust as a separate process, without its web page."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from elastic_yolo.lab.processes.child import last_log_line, start_child, stop_child
from loadtest.errors import LoadTestError
from loadtest.plan import Plan

ROOT = Path(__file__).resolve().parent.parent
_LOCUSTFILE = Path(__file__).with_name("locustfile.py")
_TICK_S = 1.0
# In addition to the run: starting, preparing pictures, and waiting for the last responses.
_GRACE_S = 60.0
_FINISH_S = 10
_BUSY = "CPU usage above 90%"


def drive(plan: Plan, tick: Callable[[], None]) -> bool:
    """Run the load, calling `tick` once a second; return whether it ran to its end.

    Ctrl-C and SIGTERM end it early. Raises LoadTestError if locust fails or does not end.
    """
    until = time.monotonic() + plan.duration_s + _GRACE_S
    # A SIGTERM to this process also ends the load.
    former = signal.signal(signal.SIGTERM, signal.default_int_handler)
    plan.log.unlink(missing_ok=True)
    # Ctrl-C is handled here: locust gets SIGTERM, and what it has measured is kept.
    process = start_child(
        _command(plan), folder=ROOT, env=_environment(os.environ), log=plan.log, own_session=True
    )
    try:
        complete = _wait(process, until, tick)
    finally:
        stop_child(process, 2 * _FINISH_S)
        signal.signal(signal.SIGTERM, former)
    if complete and process.returncode != 0:
        raise LoadTestError(f"locust ended with {process.returncode}: {last_log_line(plan.log)}")
    return complete


def was_too_busy(log: Path) -> bool:
    """Return whether locust warned that its own CPU was the limit."""
    return _BUSY in log.read_text(encoding="utf-8", errors="replace")


def _wait(process: subprocess.Popen[bytes], until: float, tick: Callable[[], None]) -> bool:
    try:
        while True:
            try:
                process.wait(_TICK_S)
            except subprocess.TimeoutExpired:
                tick()
            else:
                return True
            if time.monotonic() > until:
                raise LoadTestError(
                    f"locust did not end {_GRACE_S:.0f} s after the end of the load"
                )
    except KeyboardInterrupt:
        return False


def _command(plan: Plan) -> list[str]:
    return [
        sys.executable, "-m", "locust", "--locustfile", str(_LOCUSTFILE), "--headless",
        "--host", plan.target, "--shape", plan.shape, "--users", str(plan.users),
        "--run-time", f"{plan.duration_s:.0f}s", "--stop-timeout", str(_FINISH_S),
        "--csv", str(plan.folder.resolve() / "locust"), "--csv-full-history", "--only-summary",
        "--pictures", str(plan.pictures.resolve()), "--answers", str(plan.answers.resolve()),
        "--exit-code-on-error", "0",
    ]  # fmt: skip


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    # Options for other uses of locust must not change this run.
    return {
        name: value
        for name, value in ours.items()
        if not name.startswith("LOCUST_") and name != "TIMELINE"
    }
