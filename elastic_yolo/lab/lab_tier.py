"""One tier of the lab: its processes, what they use, and its autoscaler."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from elastic_yolo.lab.autoscaler.hpa import Autoscaler
from elastic_yolo.lab.autoscaler.keda import Activator
from elastic_yolo.lab.autoscaler.manifest import Tier
from elastic_yolo.lab.autoscaler.metrics_server import MetricsServer, Reading
from elastic_yolo.lab.autoscaler.pods import Pod
from elastic_yolo.lab.errors import LabFailed
from elastic_yolo.lab.processes.cpu_clock import cpu_s
from elastic_yolo.lab.processes.cpu_limits import CpuLimits
from elastic_yolo.lab.processes.pod import (
    STARTING_PERIOD_S,
    PodProcess,
    Probe,
    count_peers,
    keep_watch,
    list_models,
    predict,
    start_pod,
    wait_alive,
)
from elastic_yolo.lab.sampled import by_metric, sample
from elastic_yolo.lab.timeline import Sample

# More pods that end on their own fail the lab.
_MAX_CRASHES = 5
# Requests until a caller has noticed that a pod of the next service has ended.
_MAX_REQUESTS = 20
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
    metrics: MetricsServer
    limits: CpuLimits | None
    say: Callable[[str], None]
    """Receives lines about crashes."""
    downstream: LabTier | None = field(default=None, repr=False)
    """The tier that its pods send requests to."""
    upstream: LabTier | None = field(default=None, repr=False)
    """The tier whose pods send requests to it."""
    pods: list[PodProcess] = field(default_factory=list)
    activator: Activator | None = None
    """KEDA's own part, if a ScaledObject scales the tier."""
    made: int = 0
    peak: int = 0
    changes: int = 0
    crashes: int = 0
    was_ready: bool = False
    """Whether any of its pods was ever ready."""
    cpu_s: float = 0.0
    """CPU seconds of pods that have ended."""
    _used_s: dict[str, float] = field(default_factory=dict)
    """CPU seconds by pod when last read."""
    _polls: int = 0
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

    def sync(self, external: int | None = None) -> Sample:
        """Run the autoscaler once and start or delete pods accordingly; raises LabFailed.

        `external` is the value of its External metrics.
        """
        now, living, usages = self.clock(), self.living, self.metrics.usages()
        seen = [self._as_seen(pod) for pod in self.pods]
        known = {pod.name: usages[pod.name] for pod in self.pods if pod.name in usages}
        metrics = self.tier.hpa.metrics
        values = {} if external is None else {one.key: 1000 * external for one in metrics}
        decision = self.autoscaler.decide(
            now, len(living), seen, by_metric(self.tier, known), values
        )
        self.scale_to(decision.desired)
        return sample(time.time(), self.tier, decision, seen, known)

    def scale_to(self, desired: int) -> None:
        """Start or delete pods; raises LabFailed."""
        living = self.living
        more = desired - len(living)
        self.changes += more != 0
        if more > 0:
            self.start(more)
        # As a Deployment does: pods that are not ready first, then the newest.
        for pod in sorted(living, key=lambda pod: (pod.ready, -pod.started_at))[: max(0, -more)]:
            pod.delete()
            self._retiring.append(pod)
        if self._retiring and (self._retire is None or self._retire.done()):
            self._retire = asyncio.create_task(self._retire_all())

    def is_polled(self) -> bool:
        """Return whether KEDA's next poll is due; then `activate` has to be called."""
        if self.activator is None:
            return False
        return self.clock() >= self._polls * self.activator.spec.polling_s

    def activate(self, value: int | None) -> Sample | None:
        """Let KEDA scale from or to zero, and return the sample of a change; raises LabFailed.

        `value` is that of its trigger. Without one it changes nothing.
        """
        assert self.activator is not None
        now, current = self.clock(), len(self.living)
        self._polls = int(now // self.activator.spec.polling_s) + 1
        change = None if value is None else self.activator.decide(now, current, value)
        if change is None:
            return None
        seen = [self._as_seen(pod) for pod in self.pods]
        self.scale_to(change.replicas)
        return sample(time.time(), self.tier, change.decision(current), seen, self.metrics.usages())

    def scrape(self) -> None:
        """Let metrics-server do what is due."""
        self.metrics.advance(self.clock(), self._read)

    def _read(self) -> dict[str, Reading]:
        """Read the CPU clock of every pod, in seconds of the lab's clock."""
        now = self.clock()
        for pod in self.living:
            used = cpu_s(pod.process.pid)
            if used is not None:
                self._used_s[pod.name] = used
        return {
            pod.name: Reading(pod.started_at, now, self._used_s[pod.name] * self.speed)
            for pod in self.living
            if pod.name in self._used_s
        }

    def replace_ended_pods(self) -> None:
        """Remove pods that have ended, and replace those that ended on their own.

        Raises LabFailed if that happens repeatedly, or before any pod was ready.
        """
        self.was_ready |= any(pod.was_ready for pod in self.pods)
        for pod in [pod for pod in self.pods if pod.has_ended()]:
            self.pods.remove(pod)
            self.cpu_s += self._used_s.pop(pod.name, 0.0)
            self.ports.append(pod.port)
            if self.limits is not None:
                self.limits.remove(pod.name)
            if not pod.deleting:
                self._replace(pod)

    def forget_start(self, at: float) -> None:
        """Discard start times: the pods count as having run since `at`, without any load."""
        for pod in self.living:
            pod.started_at = pod.ready_changed_at = at
        self.metrics.prime(self._read())

    def used_cpu_s(self) -> float:
        """Return the CPU seconds of all pods so far, including those that have ended."""
        now = (cpu_s(pod.process.pid) for pod in self.pods)
        return self.cpu_s + sum(used for used in now if used is not None)

    async def empty(self) -> None:
        """Scale to zero and wait until no process is left."""
        self.scale_to(0)
        while self.pods:
            await asyncio.sleep(_POLL_S)
            self.replace_ended_pods()
        self.changes = 0

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
        """Send requests until a pod knows the next service's pods, then watch its readiness."""
        await wait_alive(pod, self.probe)
        while self.downstream is not None:
            if await predict(pod) and await self.has_noticed_removed_pods(pod):
                break
            await list_models(pod)
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
            # With the last pod, requests do not fail but are held.
            if self.upstream is None or not self.living:
                continue
            while not pod.has_ended():  # noqa: ASYNC110  # as in `end`
                await asyncio.sleep(_POLL_S)
            for caller in self.upstream.living:
                tries = 0
                while tries < _MAX_REQUESTS and not await self.upstream.has_noticed_removed_pods(
                    caller
                ):
                    tries += 1
                    await list_models(caller)

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
