"""A pod of the lab: one service process on loopback, watched as a kubelet watches a container."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from autoscaler.errors import LabFailed
from tools.stack import LOOPBACK, ROOT

_STARTING_PERIOD_S = 0.1
_PROBE_TIMEOUT_S = 2.0
# terminationGracePeriodSeconds of the manifests.
GRACE_S = 40.0


@dataclass(frozen=True)
class Probe:
    """How a pod is asked whether it is ready."""

    period_s: float
    failures: int
    """So many in a row make it unready."""
    predictions: int = 0
    """So many real predictions have to succeed before it counts as ready for the first time."""


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
    deleting_since: float | None = None
    """time.monotonic() when it was told to end."""
    watch: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def deleting(self) -> bool:
        """Tell whether it has been told to end."""
        return self.deleting_since is not None

    def terminate(self) -> None:
        """Tell it to drain and end, as a kubelet does."""
        if self.watch is not None:
            self.watch.cancel()
        if not self.deleting:
            self.deleting_since = time.monotonic()
            self.process.send_signal(signal.SIGTERM)

    def has_ended(self) -> bool:
        """Tell whether it is gone; one that does not go within the grace period is killed."""
        if self.deleting_since and time.monotonic() - self.deleting_since > GRACE_S:
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


async def keep_watch(pod: PodProcess, probe: Probe, clock: Callable[[], float]) -> None:
    """Keep `ready` up to date until cancelled."""
    predictions = probe.predictions
    while predictions > 0:
        if await get_status(pod.port, "/health/status") == 200:
            predictions -= 1
        else:
            await asyncio.sleep(_STARTING_PERIOD_S)
    failures = 0
    while True:
        well = await get_status(pod.port, "/readyz") == 200
        failures = 0 if well else failures + 1
        if pod.ready != well and (well or failures >= probe.failures):
            pod.ready, pod.ready_changed_at = well, clock()
        await asyncio.sleep(probe.period_s if pod.ready else _STARTING_PERIOD_S)


async def get_status(port: int, path: str) -> int | None:
    """Return the status that a service answers with, None if it does not."""
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            try:
                head = f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\nConnection: close\r\n\r\n"
                writer.write(head.encode())
                line = await reader.readline()
                await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None
    parts = line.split()
    return int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else None
