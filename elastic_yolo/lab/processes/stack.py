"""The three services as processes on loopback, from the sources in this repository.

`elastic-yolo serve`, the lab, the benchmarks and the tests use these classes.
"""

from __future__ import annotations

import atexit
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from elastic_yolo.lab.processes.child import last_log_line, start_child, stop_child
from elastic_yolo.lab.processes.log_lines import describe_line
from elastic_yolo.tiers import TIERS

ROOT = Path(__file__).resolve().parents[3]
"""The repository. An installed wheel has none: see `has_repository`."""
DEMO_MODEL = ROOT / "models" / "demo"
LOOPBACK = "127.0.0.1"
# Addresses to listen on that are none to connect to: all IPv4 or IPv6 addresses of the machine.
_ALL_ADDRESSES = {"0.0.0.0": LOOPBACK, "::": "::1"}  # noqa: S104

# Below the kernel's range for outgoing connections (32768 to 60999).
_OWN_PORTS = range(20_000, 32_000)
# A stack of the lab has a dozen services.
_MOST_RESERVED = 64
_reserved: deque[socket.socket] = deque()
_POLL_S = 0.05
_READY_TIMEOUT_S = 60.0
# A service drains for DRAIN_DELAY_S and DRAIN_TIMEOUT_S; the default of the second is 25 s.
_DRAIN_TIMEOUT_S = 25.0
_STOP_MARGIN_S = 5.0


class StackError(Exception):
    """A service did not start or did not stop; the message names it and ends with its last line."""


def has_repository() -> bool:
    """Return whether the services' sources are here: a wheel has `elastic_yolo` only."""
    return all((ROOT / "services" / tier / "__main__.py").is_file() for tier in TIERS)


@dataclass
class Service:
    """One service process: started on entering the context, drained with SIGTERM on leaving."""

    name: str
    port: int
    env: dict[str, str]
    """Settings, added to this process's environment."""
    log: Path | None = None
    own_session: bool = False
    """Whether the terminal's Ctrl-C does not reach it. It is drained if this process is killed."""
    host: str = LOOPBACK
    """Name or address that it listens on."""
    process: subprocess.Popen[bytes] = field(init=False)

    def is_running(self) -> bool:
        """Return whether the process has been started and has not ended."""
        return hasattr(self, "process") and self.process.poll() is None

    @property
    def url(self) -> str:
        """The base URL, as this machine reaches it."""
        host = _ALL_ADDRESSES.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def start(self) -> None:
        """Start the process, which is not ready yet; raises OSError."""
        self.process = start_child(
            [sys.executable, "-m", f"services.{self.name}"],
            folder=ROOT,
            env={
                **os.environ,
                "HOST": self.host,
                "PORT": str(self.port),
                # As a pod's name does, it tells the processes of one tier apart.
                "HOSTNAME": f"{self.name}-{self.port}",
                **self.env,
            },
            log=self.log,
            own_session=self.own_session,
            ends_with_parent=self.own_session,
        )

    def __enter__(self) -> Self:
        """Start the process; it is not ready yet."""
        self.start()
        return self

    def wait_ready(self, timeout_s: float = _READY_TIMEOUT_S) -> None:
        """Return when `/readyz` answers 200; raises StackError if the process ends first."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            if self.has_started():
                return
            time.sleep(_POLL_S)
        raise StackError(f"{self.name} was not ready after {timeout_s:.0f} s{self._last_line()}")

    def has_started(self) -> bool:
        """Return whether `/readyz` answers 200; raises StackError if the process has ended."""
        status = self.process.poll()
        if status is not None:
            raise StackError(
                f"{self.name} exited with status {status} during start-up{self._last_line()}"
            )
        return self._is_ready()

    def describe_end(self) -> str:
        """Return how the process ended, and the last line of its log unless it was killed."""
        status = self.process.returncode
        if status < 0:
            # It had no time to write why: its last line is about something else.
            how = f"killed by {signal.Signals(-status).name}"
            return f"{self.name} on port {self.port} ended ({how})"
        return f"{self.name} on port {self.port} ended (status {status}){self._last_line()}"

    def get(self, path: str, timeout_s: float = 10.0) -> bytes:
        """Return the body of a response with status 200; raises OSError for any other."""
        # A proxy of the environment cannot reach loopback.
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(self.url + path, timeout=timeout_s) as response:
            body: bytes = response.read()
        return body

    def stop(self) -> int:
        """Drain the process, wait for it, and return its exit status; raises StackError."""
        timeout_s = self._drain_s() + _STOP_MARGIN_S
        if not stop_child(self.process, timeout_s):
            raise StackError(f"{self.name} did not stop within {timeout_s:.0f} s")
        return self.process.returncode

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the process."""
        self.stop()

    def _drain_s(self) -> float:
        environment = {**os.environ, **self.env}
        delay, timeout = (environment.get(f"DRAIN_{name}_S") for name in ("DELAY", "TIMEOUT"))
        return float(delay or 0) + float(timeout or _DRAIN_TIMEOUT_S)

    def _is_ready(self) -> bool:
        try:
            self.get("/readyz", timeout_s=2)
        except OSError:
            return False
        return True

    def _last_line(self) -> str:
        line = describe_line(last_log_line(self.log, "")) if self.log else ""
        return f": {line}" if line else ""


@dataclass(frozen=True)
class StackPorts:
    """The port of each process of a stack."""

    web: int
    preprocess: int
    inference: tuple[int, ...]
    """One for each inference process."""
    grpc: tuple[int, ...] = ()
    """For gRPC, one for each inference process; empty if they have no gRPC."""


class Stack:
    """Inference, preprocess and web, each configured with the URL of the next service."""

    def __init__(
        self,
        *,
        model: Path | str = DEMO_MODEL,
        ports: StackPorts | None = None,
        copies: int = 1,
        logs: Path | None = None,
        env: dict[str, dict[str, str]] | None = None,
        host: str = LOOPBACK,
        own_session: bool = False,
    ) -> None:
        """Prepare the services; entering the context starts them.

        `model` is any value of MODEL_PATH. Without `ports`, there are `copies` inference processes
        on free ports. `logs` is a folder. `env` has additional settings by service. `host` is the
        address of web; the other services listen on loopback. `own_session` is that of `Service`.
        """
        ports = ports or StackPorts(
            free_port(), free_port(), tuple(free_port() for _ in range(copies))
        )
        extra = env or {}

        def service(name: str, port: int, settings: dict[str, str], log: str = "") -> Service:
            return Service(
                name,
                port,
                {**settings, **extra.get(name, {})},
                logs / f"{log or name}.log" if logs else None,
                own_session,
            )

        # Empty is off: several processes cannot share one port of the environment. That for metrics
        # is web's.
        behind = {"METRICS_PORT": ""}
        grpc = [str(port) for port in ports.grpc] or [""] * len(ports.inference)
        settings = {**behind, "MODEL_PATH": str(model)}
        is_alone = len(ports.inference) == 1
        processes = [
            service(
                "inference",
                port,
                {**settings, "GRPC_PORT": for_grpc},
                "inference" if is_alone else f"inference-{port}",
            )
            for port, for_grpc in zip(ports.inference, grpc, strict=True)
        ]
        self.inference, *self.copies = processes
        urls = ",".join(one.url for one in processes)
        self.preprocess = service("preprocess", ports.preprocess, {**behind, "INFERENCE_URL": urls})
        self.web = replace(
            service("web", ports.web, {"PREPROCESS_URL": self.preprocess.url}), host=host
        )
        self._running = ExitStack()

    @property
    def services(self) -> tuple[Service, ...]:
        """All services from inference to web, the order in which they become ready."""
        return self.inference, *self.copies, self.preprocess, self.web

    def serves(self) -> bool:
        """Return whether every tier has a running process."""
        tiers = ([self.inference, *self.copies], [self.preprocess], [self.web])
        return all(any(one.is_running() for one in tier) for tier in tiers)

    @contextmanager
    def starting(self) -> Iterator[Self]:
        """Start all services without waiting until they are ready; stop them at the end."""
        with ExitStack() as running:
            for service in self.services:
                running.enter_context(service)
            yield self

    def kill(self) -> None:
        """Kill all processes that have been started; requests in progress are lost."""
        for service in self.services:
            if service.is_running():
                service.process.kill()

    def __enter__(self) -> Self:
        """Start all services and wait until they are ready; raises StackError."""
        with ExitStack() as starting:
            starting.enter_context(self.starting())
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
        """Stop web first and inference last, so that no request meets a stopped service."""
        self._running.close()


def free_port() -> int:
    """Return a port of loopback that is free, and that no other process gets from here meanwhile.

    The latest ports of this process stay reserved: their services may not listen yet.
    """
    port, held = _reserve_random_port()
    _reserved.append(held)
    if len(_reserved) > _MOST_RESERVED:
        _reserved.popleft().close()
    return port


def random_port() -> int:
    """Return a port of loopback that is free at this moment and that no process has reserved.

    It is outside of the kernel's range for outgoing connections: the kernel may give a port of that
    range to another process's connection before our process listens on it.
    """
    port, held = _reserve_random_port()
    held.close()
    return port


def reserve_port(port: int) -> socket.socket | None:
    """Return a socket whose abstract name stands for the port, or None if a process has it.

    The kernel frees the name when the socket is closed or the process ends; see unix(7).
    """
    held = socket.socket(socket.AF_UNIX)
    try:
        held.bind(f"\0elastic-yolo-port-{port}")
    except OSError:
        held.close()
        return None
    return held


def _reserve_random_port() -> tuple[int, socket.socket]:
    while True:
        # Not from `random`: tests seed that with the same value in every process.
        port = secrets.choice(_OWN_PORTS)
        if not _is_taken(port) and (held := reserve_port(port)) is not None:
            return port, held


@atexit.register
def _release_ports() -> None:
    while _reserved:
        _reserved.pop().close()


def _is_taken(port: int) -> bool:
    """Return whether a port of loopback cannot be bound."""
    with socket.socket() as probe:
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return True
    return False
