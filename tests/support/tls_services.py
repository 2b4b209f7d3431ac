"""Services that listen with TLS: their URLs are https://, and METRICS_PORT has their probes."""

from __future__ import annotations

import resource
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from elastic_yolo.lab.processes.stack import LOOPBACK, Service, free_port
from tests.support.certificates import Authority, MountedPair
from tests.support.log_lines import read_log
from tests.support.tiny import write_tiny_model

NAMES = ("localhost", LOOPBACK)


@dataclass
class TlsService(Service):
    """A service with a certificate; its log is in `log`."""

    probe_port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        """Set METRICS_PORT."""
        self.env = {**self.env, "METRICS_PORT": str(self.probe_port)}

    @property
    def url(self) -> str:
        """The base URL with a name of the certificate."""
        return f"https://localhost:{self.port}"

    @property
    def probe_url(self) -> str:
        """The base URL of probes and metrics."""
        return f"http://{LOOPBACK}:{self.probe_port}"

    def get(self, path: str, timeout_s: float = 10.0) -> bytes:
        """Return the body of a probe or the metrics."""
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(self.probe_url + path, timeout=timeout_s) as response:
            body: bytes = response.read()
        return body

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log lines of one kind."""
        assert self.log
        return [line for line in read_log(self.log) if line["event"] == name]

    def resident_bytes(self) -> int:
        """Return how much memory the process has."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * resource.getpagesize()

    def metric(self, name: str) -> float:
        """Return the value of a metric without labels of its own."""
        for line in self.get("/metrics").decode().splitlines():
            if line.startswith(f"{name}{{"):
                return float(line.rsplit(" ", 1)[1])
        raise AssertionError(f"not exported: {name}")


@dataclass
class TlsStack:
    """The three services, each with a certificate of one CA."""

    authority: Authority
    pairs: dict[str, MountedPair]
    web: TlsService
    preprocess: TlsService
    inference: TlsService

    @property
    def services(self) -> tuple[TlsService, ...]:
        """All three, from inference to web."""
        return self.inference, self.preprocess, self.web

    def caller(self) -> httpx.Client:
        """Return a client that trusts the CA and has no certificate."""
        return httpx.Client(verify=self.pairs["web"].client_context(certificate=False), timeout=60)


@contextmanager
def running_with_tls(folder: Path, **env: dict[str, str]) -> Iterator[TlsStack]:
    """Run the tiny model behind preprocess and web; `env` has further settings by service."""
    authority = Authority()
    tiers = ("web", "preprocess", "inference")
    pairs = {tier: authority.write_pair(folder / tier, [*NAMES, tier]) for tier in tiers}

    def service(name: str, settings: dict[str, str]) -> TlsService:
        stated = {**pairs[name].env, **settings, **env.get(name, {})}
        return TlsService(name, free_port(), stated, folder / f"{name}.log")

    inference = service("inference", {"MODEL_PATH": str(write_tiny_model(folder / "model"))})
    preprocess = service("preprocess", {"INFERENCE_URL": inference.url})
    web = service("web", {"PREPROCESS_URL": preprocess.url})
    stack = TlsStack(authority, pairs, web, preprocess, inference)
    with ExitStack() as running:
        for one in stack.services:
            running.enter_context(one)
        for one in stack.services:
            one.wait_ready()
        yield stack
