"""A pod of the lab: one service process on loopback, watched as a kubelet watches a container."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

from elastic_yolo.lab.errors import LabFailed
from elastic_yolo.lab.processes.stack import LOOPBACK, ROOT

STARTING_PERIOD_S = 0.1
_PROBE_TIMEOUT_S = 2.0
# terminationGracePeriodSeconds of the manifests.
GRACE_S = 40.0


@dataclass(frozen=True)
class Probe:
    """How a pod is asked whether it is ready."""

    period_s: float
    failures: int
    """So many in a row make it unready."""
    startup_s: float
    """One that is not alive until then is killed."""


@dataclass
class PodProcess:
    """The process and what is known of it; times are those of the lab's clock."""

    tier: str
    name: str
    port: int
    started_at: float
    process: subprocess.Popen[bytes]
    log: Path
    ready: bool = False
    ready_changed_at: float = 0.0
    was_ready: bool = False
    deleting: bool = False
    """It is to end, and takes no part in anything any more."""
    terminated_at: float | None = None
    """time.monotonic() when it was told so."""
    watch: asyncio.Task[None] | None = field(default=None, repr=False)

    def delete(self) -> None:
        """Leave it out from now on."""
        self.deleting = True
        if self.watch is not None:
            self.watch.cancel()

    def terminate(self) -> None:
        """Tell it to drain and end, as a kubelet does."""
        self.delete()
        if self.terminated_at is None:
            self.terminated_at = time.monotonic()
            self.process.send_signal(signal.SIGTERM)

    def has_ended(self) -> bool:
        """Tell whether it is gone; one that does not go within the grace period is killed."""
        if self.terminated_at and time.monotonic() - self.terminated_at > GRACE_S:
            self.process.kill()
        return self.process.poll() is not None

    def last_words(self) -> str:
        """Return the last line of its log."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def start_pod(
    tier: str, name: str, port: int, env: dict[str, str], logs: Path, now: float
) -> PodProcess:
    """Start a service; it is not ready yet. Raises LabFailed."""
    log = logs / f"{name}.log"
    try:
        with log.open("ab") as output:
            process = subprocess.Popen(  # noqa: S603  # our own interpreter, our own module
                [sys.executable, "-m", f"services.{tier}"],
                cwd=ROOT,
                env={**os.environ, "HOST": LOOPBACK, "PORT": str(port), **env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Ctrl-C is for the lab, which then ends its pods in order.
                start_new_session=True,
            )
    except OSError as error:
        raise LabFailed(f"{name} could not be started: {error}") from None
    return PodProcess(tier, name, port, now, process, log, ready_changed_at=now)


async def wait_alive(pod: PodProcess, probe: Probe) -> None:
    """Return when it is alive, or kill it when that takes too long."""
    until = time.monotonic() + probe.startup_s
    while (await get(pod.port, "/livez"))[0] != HTTPStatus.OK:
        if time.monotonic() > until:
            pod.process.kill()
            return
        await asyncio.sleep(STARTING_PERIOD_S)


async def keep_watch(pod: PodProcess, probe: Probe, clock: Callable[[], float]) -> None:
    """Keep `ready` up to date until cancelled."""
    failures = 0
    while True:
        well = (await get(pod.port, "/readyz"))[0] == HTTPStatus.OK
        failures = 0 if well else failures + 1
        if pod.ready != well and (well or failures >= probe.failures):
            pod.ready, pod.ready_changed_at = well, clock()
            pod.was_ready |= well
        await asyncio.sleep(probe.period_s if pod.ready else STARTING_PERIOD_S)


async def predict(pod: PodProcess) -> bool:
    """Let it make a real prediction with all that lies behind it; tell whether it was right."""
    return (await get(pod.port, "/health/status"))[0] == HTTPStatus.OK


async def count_peers(pod: PodProcess, peer: str) -> int | None:
    """Return how many processes of a tier it believes to serve, None if it does not say."""
    _, body = await get(pod.port, "/metrics")
    pattern = rf'elastic_yolo_peer_endpoints{{peer="{peer}",[^}}]*state="serving"}} (\S+)'
    found = re.search(pattern, body.decode())
    return round(float(found[1])) if found else None


async def get(port: int, path: str) -> tuple[int | None, bytes]:
    """Return status and body of what a service answers; the status is None if it does not."""
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            try:
                head = f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\nConnection: close\r\n\r\n"
                writer.write(head.encode())
                answer, _, body = (await reader.read()).partition(b"\r\n\r\n")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None, b""
    parts = answer.split(maxsplit=2)
    return (int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else None), body
