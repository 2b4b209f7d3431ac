"""Debian's etcd on loopback, installed by `make etcd`: killed, restarted, with users, with TLS."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from elastic_yolo.lab.processes.stack import LOOPBACK, ROOT, free_port
from tests.support.waiting import wait_until

_ROOM = ROOT / ".venv-etcd"


class EtcdServer:
    """A server of its own: nothing else uses it."""

    def __init__(self, folder: Path, tls: Mapping[str, Path] | None = None) -> None:
        """Start it and wait until it responds; `tls` has the files cert, key and ca."""
        self.port, self._peer_port = free_port(), free_port()
        self._folder = folder
        self._tls = tls or {}
        self.start()

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"{'https' if self._tls else 'http'}://{LOOPBACK}:{self.port}"

    @property
    def host(self) -> str:
        """Host and port, as in an address of a table."""
        return f"{LOOPBACK}:{self.port}"

    def start(self) -> None:
        """Start the server on the same port, with what it had stored."""
        peer = f"http://{LOOPBACK}:{self._peer_port}"
        options = {
            "data-dir": str(self._folder / "data"),
            "listen-client-urls": self.url,
            "advertise-client-urls": self.url,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"default={peer}",
        }
        if self._tls:
            options |= {
                "cert-file": str(self._tls["cert"]),
                "key-file": str(self._tls["key"]),
                "trusted-ca-file": str(self._tls["ca"]),
                "client-cert-auth": "true",
            }
        command = [str(_ROOM / "etcd"), *(f"--{name}={value}" for name, value in options.items())]
        with (self._folder / "etcd.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(self._responds, "etcd responds")

    def kill(self) -> None:
        """End the server as a power failure does."""
        self._process.kill()
        self._process.wait()

    def ctl(self, *arguments: str, user: str = "", text: str | None = None) -> str:
        """Run etcdctl, which reads `text` from its standard input; return what it printed."""
        command = [str(_ROOM / "etcdctl"), f"--endpoints={self.url}", *self._files()]
        command += [f"--user={user}"] if user else []
        done = subprocess.run(
            [*command, *arguments],
            input=text,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env={"ETCDCTL_API": "3"},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _files(self) -> Sequence[str]:
        names = {"cert": "cert", "key": "key", "ca": "cacert"}
        return [f"--{names[name]}={path}" for name, path in self._tls.items()]

    def _responds(self) -> bool:
        assert self._process.poll() is None, (self._folder / "etcd.log").read_text()
        if self._tls:
            return "is healthy" in self._health()
        try:
            return httpx.get(f"{self.url}/health", trust_env=False).json()["health"] == "true"
        except httpx.HTTPError:
            return False

    def _health(self) -> str:
        command = [str(_ROOM / "etcdctl"), f"--endpoints={self.url}", *self._files()]
        done = subprocess.run(
            [*command, "endpoint", "health"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env={"ETCDCTL_API": "3"},
        )
        return done.stdout + done.stderr


@contextmanager
def etcd_server(folder: Path, tls: Mapping[str, Path] | None = None) -> Iterator[EtcdServer]:
    """Run a server until the block ends; skips the test if it is not installed."""
    if not (_ROOM / "etcd").exists() or not (_ROOM / "etcdctl").exists():
        pytest.skip("needs etcd and etcdctl in .venv-etcd, which `make etcd` unpacks")
    folder.mkdir(parents=True, exist_ok=True)
    server = EtcdServer(folder, tls)
    try:
        yield server
    finally:
        server.kill()
