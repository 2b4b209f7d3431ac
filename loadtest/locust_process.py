"""Locust as a process of its own, without its page."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from loadtest.errors import LoadTestError
from loadtest.plan import Plan

ROOT = Path(__file__).resolve().parent.parent
_LOCUSTFILE = Path(__file__).with_name("locustfile.py")
_TICK_S = 1.0
# Beyond the run: starting, making pictures, and letting users finish.
_GRACE_S = 60.0
_FINISH_S = 10
_BUSY = "CPU usage above 90%"


def drive(plan: Plan, tick: Callable[[], None]) -> bool:
    """Run the load to its end, calling `tick` once a second; tell whether it ran to its end.

    Ctrl-C and SIGTERM end it early. Raises LoadTestError if locust does not do what it should.
    """
    until = time.monotonic() + plan.duration_s + _GRACE_S
    # Whoever ends us means the load.
    former = signal.signal(signal.SIGTERM, signal.default_int_handler)
    with plan.log.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603  # our own interpreter, arguments that were checked
            _command(plan),
            cwd=ROOT,
            env=_environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Ctrl-C is for us: locust is told to end, and what it measured is kept.
            start_new_session=True,
        )
    try:
        complete = _wait(process, until, tick)
    finally:
        _end(process)
        signal.signal(signal.SIGTERM, former)
    if complete and process.returncode != 0:
        raise LoadTestError(f"locust ended with {process.returncode}: {_last_words(plan.log)}")
    return complete


def was_too_busy(log: Path) -> bool:
    """Tell whether locust complained that its own CPU was the limit."""
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
                raise LoadTestError("locust did not end when its time was over")
    except KeyboardInterrupt:
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(2 * _FINISH_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _command(plan: Plan) -> list[str]:
    return [
        sys.executable, "-m", "locust", "--locustfile", str(_LOCUSTFILE), "--headless",
        "--host", plan.target, "--shape", plan.shape, "--users", str(plan.users),
        "--run-time", f"{plan.duration_s:.0f}s", "--stop-timeout", str(_FINISH_S),
        "--csv", str(plan.folder.resolve() / "locust"), "--csv-full-history", "--only-summary",
        "--answers", str(plan.answers.resolve()), "--exit-code-on-error", "0",
    ]  # fmt: skip


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    # Options of a locust that somebody uses otherwise are not meant for this one.
    return {
        name: value
        for name, value in ours.items()
        if not name.startswith("LOCUST_") and name != "TIMELINE"
    }


def _last_words(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
