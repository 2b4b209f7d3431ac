"""Worker processes that exchange JSON lines with us over standard input and output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from elastic_yolo.lab.processes.child import last_line
from elastic_yolo.lab.processes.stack import ROOT


class ProcessFailed(Exception):
    """A worker process ended or reported an error; the message has the last line of its stderr."""


class JsonProcess:
    """A Python module running as a worker process; it ends when its standard input closes.

    Unlike a service it has pipes instead of a log file, and needs no signal to stop.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        name: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start the module; `name` is used in error messages, by default the module's."""
        self._name = name or module
        self._process = subprocess.Popen(  # noqa: S603  # our own interpreter, our own module
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        """Return the running process."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the process; after an exception without waiting for its current task."""
        if kind is not None:
            self._process.kill()
        self._process.communicate()

    def send(self, task: object) -> None:
        """Send a task; `receive` returns its result."""
        assert self._process.stdin
        # If the process has ended, `receive` reports it.
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(task) + "\n")
            self._process.stdin.flush()

    def receive(self, ended: str = "ended") -> Any:
        """Wait for the next result; raises ProcessFailed, with `ended` if stderr is empty."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line.endswith("\n"):
            _, errors = self._process.communicate()
            # The last line of a process that was killed by a signal does not explain the kill.
            why = last_line(errors, ended) if self._process.returncode > 0 else ended
            raise ProcessFailed(f"{self._name}: {why}")
        result = json.loads(line)
        if isinstance(result, dict) and "error" in result:
            raise ProcessFailed(result["error"])
        return result

    def request(self, task: object, ended: str = "ended") -> Any:
        """Send a task and return its result; raises ProcessFailed."""
        self.send(task)
        return self.receive(ended)
