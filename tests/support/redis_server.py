"""Debian's redis-server on loopback, with an append-only file, that can be killed and restarted."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from elastic_yolo.lab.processes.stack import LOOPBACK, free_port
from tests.support.waiting import wait_until

_PROGRAM = "redis-server"


class RedisServer:
    """A server of its own: nothing else uses it."""

    def __init__(self, folder: Path, options: Mapping[str, str] | None = None) -> None:
        """Start the server and wait until it responds; `options` are directives of redis.conf."""
        self.port = free_port()
        self._folder = folder
        # What a client in Python says first; with a password the server refuses it, and responds.
        self._options = {
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            **(options or {}),
        }
        self.start()

    @property
    def client(self) -> Any:
        """A client of the tests, not of what they test."""
        return redis.Redis(
            LOOPBACK, self.port, password=self._options.get("requirepass"), protocol=2
        )

    def address(self, query: str, credentials: str = "", database: str = "0") -> str:
        """Return an address for --source and --sink."""
        return f"redis://{credentials}{LOOPBACK}:{self.port}/{database}?{query}"

    def start(self) -> None:
        """Start the server on the same port, with what it had stored."""
        directives = {"port": str(self.port), "bind": LOOPBACK, "dir": str(self._folder)}
        command = [_PROGRAM]
        for name, value in {**directives, **self._options}.items():
            command += [f"--{name}", value]
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(self._responds, f"{_PROGRAM} responds")

    def kill(self) -> None:
        """End the server as a power failure does."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def pause(self) -> None:
        """Stop the process: connections stay open, nothing responds."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let a paused process run."""
        self._process.send_signal(signal.SIGCONT)

    def _responds(self) -> bool:
        assert self._process.poll() is None, (self._folder / "redis.log").read_text()
        if self._options.get("port") == "0":
            return True
        with self.client as client:
            try:
                return bool(client.ping())
            except redis.AuthenticationError:
                return True
            except redis.RedisError:
                return False


@contextmanager
def redis_server(folder: Path, options: Mapping[str, str] | None = None) -> Iterator[RedisServer]:
    """Run a server until the block ends; skips the test if it is not installed."""
    if shutil.which(_PROGRAM) is None:
        pytest.skip(f"needs {_PROGRAM}, which `make brokers` installs")
    folder.mkdir(parents=True, exist_ok=True)
    server = RedisServer(folder, options)
    try:
        yield server
    finally:
        server.kill()
