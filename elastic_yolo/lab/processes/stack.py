"""The three services as processes on loopback, from the sources in this folder.

`python -m elastic_yolo.lab.processes.stack` is `make up`; the demo and the tests use the class.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from elastic_yolo.tiers import PORTS

ROOT = Path(__file__).resolve().parents[3]
"""The repository. An installed wheel has none: see `require_repository`."""
DEMO_MODEL = ROOT / "models" / "demo"
LOOPBACK = "127.0.0.1"

# Below those that Linux takes for the near end of connections (32768 to 60999).
_OWN_PORTS = range(20_000, 32_000)
_POLL_S = 0.05
_READY_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 30.0


class StackError(Exception):
    """A service did not start, or did not stop; the message says which and shows its last words."""


@dataclass
class Service:
    """One service process: started on entering, drained with SIGTERM on leaving."""

    name: str
    port: int
    env: dict[str, str]
    log: Path | None = None
    process: subprocess.Popen[bytes] = field(init=False)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{LOOPBACK}:{self.port}"

    def __enter__(self) -> Self:
        """Start the process; it is not ready yet."""
        output: IO[bytes] | None = self.log.open("ab") if self.log else None
        self.process = subprocess.Popen(  # noqa: S603  # our own interpreter, our own module
            [sys.executable, "-m", f"services.{self.name}"],
            cwd=ROOT,
            env={**os.environ, "HOST": LOOPBACK, "PORT": str(self.port), **self.env},
            stdout=output,
            stderr=output,
        )
        if output:
            output.close()
        return self

    def wait_ready(self, timeout_s: float = _READY_TIMEOUT_S) -> None:
        """Return when `/readyz` answers 200; raises StackError if the process ends first."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            status = self.process.poll()
            if status is not None:
                raise StackError(f"{self.name} ended with {status} at start{self._last_words()}")
            if self._is_ready():
                return
            time.sleep(_POLL_S)
        raise StackError(f"{self.name} was not ready after {timeout_s:.0f} s{self._last_words()}")

    def stop(self) -> int:
        """Ask the process to drain, wait for it, and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise StackError(f"{self.name} did not stop within {_STOP_TIMEOUT_S:.0f} s") from None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the process."""
        self.stop()

    def _is_ready(self) -> bool:
        try:
            # A proxy of the environment has no business between us and loopback.
            direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with direct.open(f"{self.url}/readyz", timeout=2):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def _last_words(self) -> str:
        if self.log is None:
            return ""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return ": " + lines[-1] if lines else ""


class Stack:
    """Inference, preprocess and web, each knowing those behind it."""

    def __init__(
        self,
        *,
        model: Path | str = DEMO_MODEL,
        ports: dict[str, int] | None = None,
        copies: int = 1,
        logs: Path | None = None,
        env: dict[str, dict[str, str]] | None = None,
    ) -> None:
        """Prepare; `ports` are free ones by default, `logs` is a folder, `env` is by service.

        `model` is a folder or what else MODEL_PATH takes.
        `copies` is how many inference processes there are; with `ports`, each has the next one.
        """
        further = [ports["inference"] + n if ports else free_port() for n in range(1, copies)]
        ports = ports or {name: free_port() for name in PORTS}
        extra = env or {}

        def service(name: str, settings: dict[str, str]) -> Service:
            log = logs / f"{name}.log" if logs else None
            return Service(name, ports[name], {**settings, **extra.get(name, {})}, log)

        self.inference = service("inference", {"MODEL_PATH": str(model)})
        self.copies = [
            replace(self.inference, port=port, log=logs / f"inference-{port}.log" if logs else None)
            for port in further
        ]
        urls = ",".join(one.url for one in (self.inference, *self.copies))
        self.preprocess = service("preprocess", {"INFERENCE_URL": urls})
        self.web = service("web", {"PREPROCESS_URL": self.preprocess.url})
        self._running = ExitStack()

    @property
    def services(self) -> tuple[Service, ...]:
        """From back to front, the order in which they become ready."""
        return self.inference, *self.copies, self.preprocess, self.web

    def serves(self) -> bool:
        """Tell whether every tier has a process that has not ended."""
        tiers = ([self.inference, *self.copies], [self.preprocess], [self.web])
        return all(any(one.process.poll() is None for one in tier) for tier in tiers)

    def __enter__(self) -> Self:
        """Start all and wait until they are ready."""
        with ExitStack() as starting:
            for service in self.services:
                starting.enter_context(service)
            for service in self.services:
                service.wait_ready()
            self._running = starting.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop them from front to back, so that nobody asks one that is gone."""
        self._running.close()


def free_port() -> int:
    """Return a port of loopback that nobody listens on at this moment.

    Not one that the kernel gives away: it may give the same one to a connection of somebody else
    before our process has got so far.
    """
    while True:
        with socket.socket() as probe:
            # Not from `random`: tests seed that, the same in every process.
            port = secrets.choice(_OWN_PORTS)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port


def taken_ports(copies: int) -> list[int]:
    """Return those of the services' own ports that somebody listens on."""
    first = PORTS["inference"]
    taken = []
    for port in (*PORTS.values(), *range(first + 1, first + copies)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                taken.append(port)
    return taken
