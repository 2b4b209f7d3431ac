"""Real model registries as child processes on loopback, installed by `make registries`."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from elastic_yolo.lab.processes.stack import LOOPBACK, ROOT, free_port

ROOM = ROOT / ".venv-registries"
_READY_S = 60.0
_POLL_S = 0.05


def program(path: str) -> Path:
    """Return a program of .venv-registries; skips the test if it is missing."""
    if not (ROOM / path).exists() or not (ROOM / "ready").exists():
        pytest.skip(f"needs {path} in .venv-registries, which `make registries` installs")
    return ROOM / path


@contextmanager
def running(
    command: Sequence[str | Path], port: int, path: str, folder: Path, env: Mapping[str, str]
) -> Iterator[None]:
    """Run a server until the block ends; it is ready when it responds at `path`."""
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(map(str, command)),
            cwd=folder,
            env={"PATH": f"{ROOM / 'bin'}:/usr/bin:/bin", "HOME": str(folder), **env},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _wait(process, f"http://{LOOPBACK}:{port}{path}", log)
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def moto_server(folder: Path) -> Iterator[int]:
    """Run moto, which speaks S3's protocol, until the block ends; yields its port."""
    port = free_port()
    command = [program("bin/moto_server"), "-H", LOOPBACK, "-p", str(port)]
    with running(command, port, "/moto-api/data.json", folder, {}):
        yield port


def _wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    until = time.monotonic() + _READY_S
    while process.poll() is None and time.monotonic() < until:
        try:
            httpx.get(address, trust_env=False)
        except httpx.HTTPError:
            time.sleep(_POLL_S)
        else:
            return
    pytest.fail(f"{address} does not answer: {log.read_text(errors='replace')[-2000:]}")
