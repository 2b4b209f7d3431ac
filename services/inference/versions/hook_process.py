"""Run a model's own metrics.py in a process of its own, so that it cannot harm the service.

The process has no memory, environment or open files of the service. It is killed if a call takes
too long or its reply is too long, and when its version is unloaded.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from threading import Lock
from typing import Any

from elastic_yolo.detector.errors import ModelError
from services.inference.versions.hook_program import FILE

_PROGRAM = Path(__file__).with_name("hook_program.py")
_LOAD_TIMEOUT_S = 30.0
_CALL_TIMEOUT_S = 5.0
# A process that ended is started again, but not sooner than this after its previous start.
_RESTART_INTERVAL_S = 10.0
_MAX_REPLY_BYTES = 64 * 1024
# The only variables that the process inherits: no token of the service is among them.
_INHERITED = ("LANG", "LC_ALL", "PATH", "TZ")
# Each thread of these libraries reserves address space, which is limited.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_PR_SET_DUMPABLE = 4


class HookFailed(Exception):
    """A call of a hook failed, or it returned something invalid; the message is one line."""


class HookProcess:
    """One process with the hook of one version. Only `close` may be called by another thread."""

    def __init__(
        self,
        folder: Path,
        *,
        load_timeout_s: float = _LOAD_TIMEOUT_S,
        call_timeout_s: float = _CALL_TIMEOUT_S,
        restart_interval_s: float = _RESTART_INTERVAL_S,
    ) -> None:
        """Start the process and load `folder`/metrics.py; raises HookFailed."""
        self._folder = folder
        self._load_timeout_s = load_timeout_s
        self._call_timeout_s = call_timeout_s
        self._restart_interval_s = restart_interval_s
        self._lock = Lock()
        self.closed = False
        """Whether the version is unloaded: the hook is not called any more."""
        self._started_at = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        _protect_own_memory()
        self._start()

    def call_hook(self, detections: list[Any]) -> Any:
        """Return what the hook returns for a picture's detections, decoded from JSON.

        `detections` are [[label, score, [x, y, width, height]], ...], as in a response of web.
        Starts the process again if it has ended. Raises HookFailed.
        """
        if self._process is None:
            wait_s = self._started_at + self._restart_interval_s - time.monotonic()
            if wait_s > 0:
                raise HookFailed(f"the process has ended; it can start again in {wait_s:.0f} s")
            self._start()
        line = json.dumps(detections).encode() + b"\n"
        return self._exchange(line, self._call_timeout_s)["values"]

    def close(self) -> None:
        """Kill the process, also during a call, which then raises HookFailed."""
        with self._lock:
            self.closed = True
        self._kill()

    def _start(self) -> None:
        with self._lock:
            if self.closed:
                raise HookFailed("the version is unloaded")
            self._started_at = time.monotonic()
            self._socket, theirs = socket.socketpair()
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603  # our own program
                    [sys.executable, "-I", "-B", str(_PROGRAM), str(self._folder)],
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=subprocess.DEVNULL,
                    cwd=self._folder,
                    env={name: os.environ[name] for name in _INHERITED if name in os.environ}
                    | _ONE_THREAD,
                    start_new_session=True,
                )
        try:
            self._exchange(b"", self._load_timeout_s)
        except HookFailed:
            self._kill()
            raise

    def _exchange(self, line: bytes, timeout_s: float) -> dict[str, Any]:
        """Send a line and return the reply; kills the process unless there is a valid one."""
        try:
            reply = self._receive_reply(line, time.monotonic() + timeout_s)
        except TimeoutError as error:
            self._kill()
            text = f"no reply within {timeout_s:g} s; the process was killed"
            raise HookFailed(text) from error
        except (OSError, ValueError, RecursionError) as error:
            status = self._kill()
            raise HookFailed(f"{error}; the process ended with status {status}") from None
        if "error" in reply:
            raise HookFailed(reply["error"])
        return reply

    def _receive_reply(self, line: bytes, until: float) -> dict[str, Any]:
        connection, reply = self._socket, b""
        if connection is None:
            raise ConnectionError("the process has ended")
        connection.settimeout(max(0.001, until - time.monotonic()))
        # Nothing is sent while it loads: one that fails may have replied and ended already.
        if line:
            connection.sendall(line)
        while not reply.endswith(b"\n"):
            connection.settimeout(max(0.001, until - time.monotonic()))
            received = connection.recv(_MAX_REPLY_BYTES)
            if not received:
                raise ConnectionError("no reply")
            reply += received
            if len(reply) > _MAX_REPLY_BYTES:
                raise ValueError(f"the reply exceeds {_MAX_REPLY_BYTES} bytes")
        parsed = json.loads(reply)
        if not isinstance(parsed, dict) or not parsed.keys() & {"ready", "values", "error"}:
            raise ValueError("invalid reply")
        return parsed

    def _kill(self) -> int | None:
        """Kill the process and its children; return the status of a process that had ended."""
        with self._lock:
            process, self._process = self._process, None
            connection, self._socket = self._socket, None
        if process is None or connection is None:
            return None
        # First, so that a thread that waits in `recv` is woken.
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return process.wait()


def start_hook(folder: Path, load_timeout_s: float = _LOAD_TIMEOUT_S) -> HookProcess | None:
    """Start the hook of a model folder, or return None if the folder has no metrics.py.

    Raises ModelError if the file cannot be loaded.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        return HookProcess(folder, load_timeout_s=load_timeout_s)
    except HookFailed as error:
        # A process that was only too slow is tried again: its cause is a TimeoutError.
        raise ModelError(f"{path}: {error}") from error.__cause__ or error


def _protect_own_memory() -> None:
    """Deny processes of the same user access to this one's memory and environment in /proc.

    See prctl(2), PR_SET_DUMPABLE.
    """
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
