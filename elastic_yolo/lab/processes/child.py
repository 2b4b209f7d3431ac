"""Child processes: started with an environment and a log file, stopped with SIGTERM, then SIGKILL.

Every process that this repository starts and leaves running goes through here: services, pods of
the lab, peers of the benchmark, locust. Standard library only.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from elastic_yolo.parent_process import end_with_parent


def start_child(
    command: Sequence[str],
    *,
    folder: Path,
    env: Mapping[str, str],
    log: Path | None,
    own_session: bool = False,
    ends_with_parent: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a program in `folder`; raises OSError.

    `env` is its whole environment. Standard output and error are appended to `log`; without a log
    they go where ours go. In a session of its own the process does not receive the terminal's
    Ctrl-C: its parent decides when it stops. With `ends_with_parent` the kernel sends it SIGTERM
    when the calling thread ends, for any reason: call it from the main thread.
    """
    bind = partial(_end_with, os.getpid())
    with nullcontext() if log is None else log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603  # the callers' own programs
            command,
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=own_session,
            preexec_fn=bind if ends_with_parent else None,  # noqa: PLW1509
        )


def _end_with(parent: int) -> None:
    if not end_with_parent(parent, signal.SIGTERM):
        os.kill(os.getpid(), signal.SIGTERM)


def stop_child(process: subprocess.Popen[bytes], grace_s: float) -> bool:
    """Send SIGTERM, after `grace_s` seconds SIGKILL, and wait; return whether SIGTERM sufficed."""
    process.terminate()
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False
    return True


def last_line(text: str, default: str = "no output") -> str:
    """Return the last line of a program's output, `default` if there is none."""
    lines = text.strip().splitlines()
    return lines[-1] if lines else default


def last_log_line(log: Path, default: str = "no output") -> str:
    """Return the last line of a log file, `default` if it is empty; raises OSError."""
    return last_line(log.read_text(encoding="utf-8", errors="replace"), default)
