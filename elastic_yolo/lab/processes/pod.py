"""A pod of the lab: one service process on loopback, probed as a kubelet probes a container."""

from __future__ import annotations

import asyncio
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

from elastic_yolo.lab.errors import LabFailed
from elastic_yolo.lab.load.client import send_once
from elastic_yolo.lab.load.wire import Target, UnsupportedResponse
from elastic_yolo.lab.processes.child import last_log_line
from elastic_yolo.lab.processes.stack import LOOPBACK, Service

STARTING_PERIOD_S = 0.1
_PROBE_TIMEOUT_S = 2.0
# terminationGracePeriodSeconds of the manifests.
GRACE_S = 40.0


@dataclass(frozen=True)
class Probe:
    """The readiness and startup probes of a pod."""

    period_s: float
    failures: int
    """Consecutive failures that make a pod unready."""
    startup_s: float
    """A pod that is not alive after this time is killed."""


@dataclass
class PodProcess:
    """A pod's process and its state; times are those of the lab's clock."""

    name: str
    service: Service
    started_at: float
    log: Path
    ready: bool = False
    ready_changed_at: float = 0.0
    was_ready: bool = False
    deleting: bool = False
    """Whether the autoscaler has removed it: it gets no new connections."""
    terminated_at: float | None = None
    """time.monotonic() of its SIGTERM."""
    watch: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self.service.port

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running process."""
        return self.service.process

    def delete(self) -> None:
        """Take it out of service; `terminate` ends the process."""
        self.deleting = True
        if self.watch is not None:
            self.watch.cancel()

    def terminate(self) -> None:
        """Send SIGTERM, as a kubelet does: the service drains and ends."""
        self.delete()
        if self.terminated_at is None:
            self.terminated_at = time.monotonic()
            self.process.terminate()

    def has_ended(self) -> bool:
        """Return whether the process has ended; SIGKILL follows SIGTERM after the grace period."""
        if self.terminated_at and time.monotonic() - self.terminated_at > GRACE_S:
            self.process.kill()
        return self.process.poll() is not None

    def last_line(self) -> str:
        """Return the last line of its log."""
        return last_log_line(self.log)


def start_pod(
    tier: str, name: str, port: int, env: dict[str, str], logs: Path, now: float
) -> PodProcess:
    """Start a pod of a tier, which is not ready yet; raises LabFailed."""
    log = logs / f"{name}.log"
    # The lab handles Ctrl-C, and ends its pods in order.
    service = Service(tier, port, env, log, own_session=True)
    try:
        service.start()
    except OSError as error:
        raise LabFailed(f"{name} could not be started: {error}") from None
    return PodProcess(name, service, now, log, ready_changed_at=now)


async def wait_alive(pod: PodProcess, probe: Probe) -> None:
    """Return when `/livez` answers 200; kill the pod if that takes longer than the probe allows."""
    until = time.monotonic() + probe.startup_s
    while not await _is_ok(pod, "/livez"):
        if time.monotonic() > until:
            pod.process.kill()
            return
        await asyncio.sleep(STARTING_PERIOD_S)


async def keep_watch(pod: PodProcess, probe: Probe, clock: Callable[[], float]) -> None:
    """Probe `/readyz` and update `ready` until cancelled."""
    failures = 0
    while True:
        well = await _is_ok(pod, "/readyz")
        failures = 0 if well else failures + 1
        if pod.ready != well and (well or failures >= probe.failures):
            pod.ready, pod.ready_changed_at = well, clock()
            pod.was_ready |= well
        await asyncio.sleep(probe.period_s if pod.ready else STARTING_PERIOD_S)


async def predict(pod: PodProcess) -> bool:
    """Run the pod's deep health check, a real prediction; return whether it succeeded."""
    return await _is_ok(pod, "/health/status")


async def list_models(pod: PodProcess) -> bool:
    """Send a request that the pod passes on to the next service; return whether it succeeded.

    Unlike the result of `predict`, its response is not kept for some seconds.
    """
    return await _is_ok(pod, "/models")


async def count_peers(pod: PodProcess, peer: str) -> int | None:
    """Return how many endpoints of the next service a pod considers serving; None if unknown."""
    _, body = await get(pod.port, "/metrics")
    pattern = rf'elastic_yolo_peer_endpoints{{peer="{peer}",[^}}]*state="serving"}} (\S+)'
    found = re.search(pattern, body.decode())
    return round(float(found[1])) if found else None


async def get(port: int, path: str) -> tuple[int | None, bytes]:
    """Return status and body of a response on loopback; the status is None without one."""
    target = Target(f"http://{LOOPBACK}:{port}{path}", method="GET")
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            response = await send_once(target)
    except (OSError, TimeoutError, UnsupportedResponse):
        return None, b""
    return response.status, response.body


async def _is_ok(pod: PodProcess, path: str) -> bool:
    return (await get(pod.port, path))[0] == HTTPStatus.OK
