"""Processes of our own that take a JSON line and answer with one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from elastic_yolo.lab.processes.stack import ROOT


class ProcessFailed(Exception):
    """A process ended, or says that it failed; the message has its last words."""


class JsonProcess:
    """A module of ours as a process; ended by the end of its standard input."""

    def __init__(
        self,
        module: str,
        *arguments: str,
        name: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start it; what it writes on stderr is shown when it ends too early.

        `name` is what failures call it, the module unless that is said.
        """
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
        """Return itself, running."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the process."""
        if kind is not None:
            # It may be in the middle of something long.
            self._process.kill()
        self._process.communicate()

    def send(self, task: object) -> None:
        """Hand over a task; `receive` returns what came of it."""
        assert self._process.stdin
        # Of a process that is gone, the missing answer says so.
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(task) + "\n")
            self._process.stdin.flush()

    def receive(self, ended: str = "ended") -> Any:
        """Wait for the next answer; raises ProcessFailed, with `ended` if nothing says more."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line.endswith("\n"):
            _, words = self._process.communicate()
            # One that was killed had no say: its last words are about something else.
            last = words.strip().splitlines()[-1:] if self._process.returncode > 0 else []
            raise ProcessFailed(f"{self._name}: {(last or [ended])[0]}")
        answer = json.loads(line)
        if isinstance(answer, dict) and "error" in answer:
            raise ProcessFailed(answer["error"])
        return answer

    def request(self, task: object, ended: str = "ended") -> Any:
        """Hand over a task and wait for the answer; raises ProcessFailed."""
        self.send(task)
        return self.receive(ended)
