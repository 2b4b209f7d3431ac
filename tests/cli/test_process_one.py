"""The command as process 1 of a container."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.support.unshare import find_unshare
from tests.support.waiting import wait_until


def child_of(pid: int) -> int | None:
    """Return the process that `unshare` started, which is process 1 of its namespace."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else None


def test_sigterm_ends_a_command_that_does_not_handle_it() -> None:
    """For process 1 the kernel ignores signals without a handler."""
    prefix = find_unshare("process 1 of a container")
    command = [sys.executable, "-m", "elastic_yolo.cli", "doctor", "-"]
    with subprocess.Popen(
        [*prefix, "--pid", "--fork", "--kill-child", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as unshare:

        def ended() -> bool:
            # It waits for its input; until its handler is set, the signal is lost.
            if child := child_of(unshare.pid):
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGTERM)
            return unshare.poll() is not None

        try:
            wait_until(ended, "the command has ended", 60)
        finally:
            unshare.kill()

    assert unshare.returncode == 128 + signal.SIGTERM
