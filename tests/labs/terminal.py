"""A terminal of a student: bash, to which commands are typed one after the other."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

_END_S = 30.0


class Terminal:
    """Runs what is typed in one bash, so that folders, variables and functions stay."""

    def __init__(self, folder: Path, scripts: Path, env: Mapping[str, str]) -> None:
        """Start bash in `folder`; what is typed lies in files in `scripts`."""
        self._scripts = scripts
        self._mark = secrets.token_hex(8)
        self._lines: list[str] = []
        self._statuses: list[int] = []
        self._changed = threading.Condition()
        self._typed = 0
        self._begun = 0
        self._shell = subprocess.Popen(
            ["/bin/bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=dict(env),
            text=True,
            errors="replace",
            start_new_session=True,
        )
        # As an interactive shell does: Ctrl-C ends what was typed, and not the shell.
        self._write("trap 'return 130 2> /dev/null' INT")
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End bash and what runs in it."""
        self.interrupt()
        assert self._shell.stdin is not None
        self._shell.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._shell.wait(_END_S)
        with suppress(ProcessLookupError):
            os.killpg(self._shell.pid, signal.SIGKILL)
        self._shell.wait()
        self._reader.join(_END_S)
        assert self._shell.stdout is not None
        self._shell.stdout.close()

    @property
    def is_busy(self) -> bool:
        """Whether a command runs."""
        with self._changed:
            return self._typed > len(self._statuses)

    def type(self, command: str) -> None:
        """Begin a command; its response is all that follows."""
        script = self._scripts / f"{self._mark}-{self._typed}.sh"
        script.write_text(command + "\n", encoding="utf-8")
        with self._changed:
            self._begun = len(self._lines)
            self._typed += 1
        self._write(f". {script} < /dev/null; printf '\\n{self._mark} %d\\n' $?")

    def interrupt(self) -> None:
        """Press Ctrl-C; the response is what follows."""
        with self._changed:
            self._begun = len(self._lines)
        with suppress(ProcessLookupError):
            os.killpg(self._shell.pid, signal.SIGINT)

    def response(self) -> list[str]:
        """Return the lines since the command was typed."""
        with self._changed:
            lines = self._lines[self._begun :]
        # The mark stands on a line of its own, whatever was printed before it.
        return lines[:-1] if lines and not lines[-1] and not self.is_busy else lines

    def wait_for_end(self, timeout_s: float) -> int:
        """Return the exit status of the command; raises TimeoutError and ChildProcessError."""
        with self._changed:
            if not self._changed.wait_for(lambda: not self._is_open(), timeout_s):
                raise TimeoutError
            if self.is_busy:
                raise ChildProcessError("the shell ended")
            return self._statuses[-1]

    def wait_for_more(self, known: int, until: float) -> bool:
        """Wait for more than `known` lines of response; False at a moment or at the end."""
        with self._changed:
            self._changed.wait_for(
                lambda: len(self._lines) - self._begun > known or not self._is_open(),
                max(0.0, until - time.monotonic()),
            )
            return len(self._lines) - self._begun > known

    def _is_open(self) -> bool:
        return self.is_busy and self._shell.poll() is None

    def _write(self, line: str) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.write(line + "\n")
        self._shell.stdin.flush()

    def _read(self) -> None:
        assert self._shell.stdout is not None
        for raw in self._shell.stdout:
            # Of a line that was drawn again and again, the last state.
            line = raw.rstrip("\n").rstrip("\r").rpartition("\r")[2].rstrip()
            with self._changed:
                if line.startswith(f"{self._mark} "):
                    self._statuses.append(int(line.split()[1]))
                else:
                    self._lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()
