"""One tier of the lab: its processes, what they use, and its autoscaler."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from elastic_yolo.lab.autoscaler.hpa import Autoscaler
from elastic_yolo.lab.autoscaler.manifest import Tier
from elastic_yolo.lab.autoscaler.pods import Pod, Usage
from elastic_yolo.lab.errors import LabFailed
from elastic_yolo.lab.processes.cpu_clock import cpu_s
from elastic_yolo.lab.processes.cpu_limits import CpuLimits
from elastic_yolo.lab.processes.pod import (
    STARTING_PERIOD_S,
    PodProcess,
    Probe,
    count_peers,
    keep_watch,
    predict,
    start_pod,
    wait_alive,
)
from elastic_yolo.lab.sampled import by_metric, sample
from elastic_yolo.lab.timeline import Sample

# More pods that end on their own fail the lab.
_MAX_CRASHES = 5
# Predictions until a caller has noticed that a pod of the next service has ended.
_MAX_PREDICTIONS = 20
_POLL_S = 0.05


@dataclass
class LabTier:
    """The pods of one tier. `clock` is the lab's, `speed` times faster than real time."""

    tier: Tier
    autoscaler: Autoscaler
    env: dict[str, str]
    probe: Probe
    ports: deque[int]
    """Unused ports, the longest unused first: callers may still eject an address that was used."""
    logs: Path
    clock: Callable[[], float]
    speed: float
    limits: CpuLimits | None
    say: Callable[[str], None]
    """Receives lines about crashes."""
    downstream: LabTier | None = field(default=None, repr=False)
    """The tier that its pods send requests to."""
    upstream: LabTier | None = field(default=None, repr=False)
    """The tier whose pods send requests to it."""
    pods: list[PodProcess] = field(default_factory=list)
    readings: dict[str, deque[tuple[float, float]]] = field(default_factory=dict)
    """The last two readings by pod: time.monotonic() and CPU seconds."""
    made: int = 0
    peak: int = 0
    changes: int = 0
    crashes: int = 0
    was_ready: bool = False
    """Whether any of its pods was ever ready."""
    cpu_s: float = 0.0
    """CPU seconds of pods that have ended."""
    _retiring: deque[PodProcess] = field(default_factory=deque)
    _retire: asyncio.Task[None] | None = None

    @property
    def living(self) -> list[PodProcess]:
        """Pods that are not being deleted, in the order of their start."""
        return [pod for pod in self.pods if not pod.deleting]

    def ready_ports(self) -> list[int]:
        """Return the ports of the pods that take traffic."""
        return [pod.port for pod in self.living if pod.ready]

    def start(self, number: int) -> None:
        """Start `number` pods; raises LabFailed.

        While draining pods hold the last addresses, fewer are started: the next sync tries again.
        """
        for _ in range(min(number, len(self.ports))):
            self.made += 1
            name, port = f"{self.tier.name}-{self.made}", self.ports.popleft()
            env = {**self.env, "PORT": str(port)}
            pod = start_pod(self.tier.name, name, port, env, self.logs, self.clock())
            self.pods.append(pod)
            if self.limits is not None and self.tier.limit_milli is not None:
                self._limit(pod, self.limits, self.tier.limit_milli / 1000)
            pod.watch = asyncio.create_task(self._watch(pod))
        self.peak = max(self.peak, len(self.living))

    def sync(self) -> Sample:
        """Run the autoscaler once and start or delete pods accordingly; raises LabFailed."""
        now, living = self.clock(), self.living
        seen = [self._as_seen(pod) for pod in self.pods]
        usages = dict(self._usages(now))
        decision = self.autoscaler.decide(now, len(living), seen, by_metric(self.tier, usages))
        more = decision.desired - len(living)
        self.changes += more != 0
        if more > 0:
            self.start(more)
        # As a Deployment does: pods that are not ready first, then the newest.
        for pod in sorted(living, key=lambda pod: (pod.ready, -pod.started_at))[: max(0, -more)]:
            pod.delete()
            self._retiring.append(pod)
        if self._retiring and (self._retire is None or self._retire.done()):
            self._retire = asyncio.create_task(self._retire_all())
        return sample(time.time(), self.tier, decision, seen, usages)

    def measure(self) -> None:
        """Read the CPU usage of every pod, as metrics-server does."""
        for pod in self.living:
            used = cpu_s(pod.process.pid)
            if used is not None:
                self.readings.setdefault(pod.name, deque(maxlen=2)).append((time.monotonic(), used))

    def replace_ended_pods(self) -> None:
        """Remove pods that have ended, and replace those that ended on their own.

        Raises LabFailed if that happens repeatedly, or before any pod was ready.
        """
        self.was_ready |= any(pod.was_ready for pod in self.pods)
        for pod in [pod for pod in self.pods if pod.has_ended()]:
            self.pods.remove(pod)
            readings = self.readings.pop(pod.name, None)
            self.cpu_s += readings[-1][1] if readings else 0.0
            self.ports.append(pod.port)
            if self.limits is not None:
                self.limits.remove(pod.name)
            if not pod.deleting:
                self._replace(pod)

    def forget_start(self, at: float) -> None:
        """Discard readings and start times: the pods count as having run since `at`."""
        self.readings.clear()
        for pod in self.living:
            pod.started_at = pod.ready_changed_at = at

    def used_cpu_s(self) -> float:
        """Return the CPU seconds of all pods so far, including those that have ended."""
        now = (cpu_s(pod.process.pid) for pod in self.pods)
        return self.cpu_s + sum(used for used in now if used is not None)

    async def end(self) -> None:
        """Drain all pods and wait for their end."""
        if self._retire is not None:
            self._retire.cancel()
        for pod in self.pods:
            pod.terminate()
        # There is no event for the end of a process.
        while not all(pod.has_ended() for pod in self.pods):  # noqa: ASYNC110
            await asyncio.sleep(_POLL_S)
        self.replace_ended_pods()

    async def has_noticed_removed_pods(self, pod: PodProcess) -> bool:
        """Return whether a pod has noticed the end of all ended pods of the next service."""
        if self.downstream is None:
            return True
        alive = sum(one.was_ready and one.process.poll() is None for one in self.downstream.pods)
        believed = await count_peers(pod, self.downstream.tier.name)
        return believed is not None and believed <= alive

    async def _watch(self, pod: PodProcess) -> None:
        """Run predictions until a pod knows the next service's pods, then watch its readiness."""
        await wait_alive(pod, self.probe)
        while self.downstream is not None:
            if await predict(pod) and await self.has_noticed_removed_pods(pod):
                break
            await asyncio.sleep(STARTING_PERIOD_S)
        await keep_watch(pod, self.probe, self.clock)

    async def _retire_all(self) -> None:
        """Terminate deleted pods without losing a request.

        In a cluster, DNS announces that a pod is gone. Here its callers learn it only when a
        request to it fails, which is retried once. So pods end one after the other, each when all
        callers have noticed the end of the one before.
        """
        while self._retiring:
            pod = self._retiring.popleft()
            pod.terminate()
            if self.upstream is None:
                continue
            while not pod.has_ended():  # noqa: ASYNC110  # as in `end`
                await asyncio.sleep(_POLL_S)
            for caller in self.upstream.living:
                tries = 0
                while tries < _MAX_PREDICTIONS and not await self.upstream.has_noticed_removed_pods(
                    caller
                ):
                    tries += 1
                    await predict(caller)

    def _replace(self, pod: PodProcess) -> None:
        if pod.watch is not None:
            pod.watch.cancel()
        self.crashes += 1
        status, last = pod.process.returncode, pod.last_line()
        if self.crashes > _MAX_CRASHES or not self.was_ready:
            raise LabFailed(f"{pod.name} ended with {status}: {last}")
        self.say(f"{pod.name} ended with {status} ({last}); a new pod replaces it")
        self.start(1)

    def _limit(self, pod: PodProcess, limits: CpuLimits, cpus: float) -> None:
        try:
            limits.place(pod.process.pid, pod.name, cpus)
        except OSError as error:
            # `replace_ended_pods` handles a pod that has already ended.
            if pod.process.poll() is None:
                raise LabFailed(f"{pod.name}: its CPU limit cannot be set: {error}") from None

    def _as_seen(self, pod: PodProcess) -> Pod:
        return Pod(
            pod.name,
            self.tier.pod_requests,
            deleting=pod.deleting,
            started_at=pod.started_at,
            ready=pod.ready,
            ready_changed_at=pod.ready_changed_at,
        )

    def _usages(self, now: float) -> Iterator[tuple[str, Usage]]:
        for name, readings in self.readings.items():
            if len(readings) == 2:
                (since, before), (at, after) = readings
                window_s = at - since
                milli = round(1000 * (after - before) / window_s)
                ago = time.monotonic() - at
                yield name, Usage(milli, now - ago * self.speed, window_s * self.speed)
