"""A real MQTT broker for tests: Debian's mosquitto."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest

from elastic_yolo.lab.processes.stack import free_port
from tests.support.waiting import wait_until

# Debian has it in a folder that only root's PATH names.
PROGRAM = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
PASSWORDS = shutil.which("mosquitto_passwd") or ""
needs_mosquitto = pytest.mark.skipif(not PROGRAM, reason="needs mosquitto: make brokers")

OPEN = "allow_anonymous true\n"


@dataclass
class Mosquitto:
    """A context manager; `extra` are lines of its configuration."""

    folder: Path
    extra: str = OPEN
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        """Begin switched off."""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def place(self) -> str:
        """Its host and port."""
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, and return when it accepts connections."""
        file = self.folder / "mosquitto.conf"
        # As root it would become another user, who may not read the folder of the test.
        file.write_text(f"user root\nlistener {self.port} 127.0.0.1\n{self.extra}")
        assert PROGRAM
        self._process = subprocess.Popen(
            [PROGRAM, "-c", file], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(self._accepts, "mosquitto accepts connections")

    def kill(self) -> None:
        """End it, as pulling the plug does."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._process
        self._process.send_signal(number)

    def _accepts(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
        except OSError:
            return False
        return True
