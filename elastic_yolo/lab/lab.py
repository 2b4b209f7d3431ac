"""The lab: the services as processes, scaled by the autoscaler's arithmetic, under load."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from elastic_yolo.lab.autoscaler.hpa import Autoscaler
from elastic_yolo.lab.autoscaler.keda import Activator, Reads
from elastic_yolo.lab.autoscaler.manifest import Tier
from elastic_yolo.lab.autoscaler.metrics_server import RESOLUTION_S, MetricsServer
from elastic_yolo.lab.autoscaler.spec import Controller
from elastic_yolo.lab.errors import LabFailed
from elastic_yolo.lab.lab_tier import LabTier
from elastic_yolo.lab.load.arrivals import Arrivals, Shape
from elastic_yolo.lab.load.picture_load import Load
from elastic_yolo.lab.processes.cpu_limits import CpuLimits
from elastic_yolo.lab.processes.pod import Probe, get
from elastic_yolo.lab.processes.stack import LOOPBACK, free_port
from elastic_yolo.lab.sizing import ScaledTiers, cores, peak_rate
from elastic_yolo.lab.timeline import Sample, append_samples
from elastic_yolo.lab.web_service import WebService
from elastic_yolo.tiers import TIERS

_POLL_S = 0.1
_START_TIMEOUT_S = 120.0
_DRAIN_DELAY_S = 1
# Addresses beyond maxReplicas: a new pod gets the one that has been unused for longest.
_SPARE = 4
_WITH_CGROUPS = "CPU limits: enforced by cpu.max of one cgroup per pod"
_WITHOUT_CGROUPS = "CPU limits: THREADS=1 only, because no cgroup v2 is writable here"
# A start takes a few real seconds; in a cluster with images to pull, longer.
_HOLD_S = 60
_WARM_UP = 5
_MEASURED = 30
CONTROLLER = Controller()
"""kube-controller-manager's defaults."""
# The low rate of a load, as a part of the high one.
LOW = 1 / 8


@dataclass(frozen=True)
class Plan:
    """The parameters of a run."""

    scaled_tiers: ScaledTiers
    model: Path | str
    """The value of MODEL_PATH, valid in any folder."""
    pictures: Sequence[bytes]
    shape: Shape
    duration_s: float
    logs: Path
    speed: float = 10.0
    rate: float | None = None
    """Pictures per second at the peak; None selects a rate that needs nearly all pods."""
    port: int = 0
    """The port of the web service; 0 selects a free one."""
    metrics_resolution_s: float = RESOLUTION_S
    """The time between two scrapes of metrics-server, in seconds of the autoscalers' clock."""

    @property
    def decisions(self) -> Path:
        """The file from which the live view of web learns what the autoscalers decide."""
        return self.logs.resolve() / "autoscalers.jsonl"


@dataclass(frozen=True)
class Tick:
    """The state of the lab at a sync of the autoscalers, or at a change that KEDA made."""

    elapsed_s: float
    rate: float
    load: Load
    samples: list[Sample]
    terminating: dict[str, int]
    """Draining pods by tier."""


@dataclass(frozen=True)
class TierReport:
    """One tier over the whole run."""

    tier: str
    peak_replicas: int
    last_replicas: int
    changes: int
    crashes: int
    cpu_s: float


@dataclass(frozen=True)
class LabReport:
    """The whole run."""

    duration_s: float
    pictures: int
    failed: int
    never_sent: int
    """Pictures that were never sent: the client's limit was reached."""
    first_failure: str | None
    slowest_s: float
    """The longest time to a response."""
    cpu_limits: Literal["cgroup", "threads"]
    """How CPU limits are enforced."""
    tiers: tuple[TierReport, ...]


@dataclass
class Lab:
    """Starts the services, scales them, stops them. `say` receives lines about its progress."""

    plan: Plan
    say: Callable[[str], None]
    limits: CpuLimits | None = None
    tiers: dict[str, LabTier] = field(default_factory=dict)
    began: float = 0.0

    def clock(self) -> float:
        """Return the seconds of the autoscalers' clock since the start of the load."""
        return (time.monotonic() - self.began) * self.plan.speed

    async def run(self, show: Callable[[Tick], None], stop: asyncio.Event) -> LabReport:
        """Run until the duration is over or `stop` is set; raises LabFailed.

        `show` is called after every sync.
        """
        self.began = time.monotonic()
        async with self._pods(), self._web_service() as web:
            load = Load(f"{web.url}/inference", self.plan.pictures)
            await self._wait_ready(stop)
            arrivals = await self._prepare(load, stop)
            await self._scale_to_zero()
            self.say(f"target: {web.url} (web page; pictures go to /inference)")
            self.say(f"live: {web.url}/live")
            # The clock starts here, with pods that count as having run for a long time.
            self.began = time.monotonic()
            for tier in self.tiers.values():
                tier.forget_start(-CONTROLLER.cpu_initialization_period_s)
            sending = asyncio.create_task(load.run(arrivals))
            try:
                await self._scale(arrivals, load, show, stop)
            finally:
                elapsed_s = time.monotonic() - self.began
                sending.cancel()
                with suppress(asyncio.CancelledError):
                    await sending
            return self._report(elapsed_s, load)

    async def _scale(
        self, arrivals: Arrivals, load: Load, show: Callable[[Tick], None], stop: asyncio.Event
    ) -> None:
        """Run a sync of all autoscalers once every sync period of the lab's clock."""

        def tell(samples: list[Sample]) -> None:
            append_samples(self.plan.decisions, samples)
            elapsed_s = time.monotonic() - self.began
            draining = {name: len(one.pods) - len(one.living) for name, one in self.tiers.items()}
            show(Tick(elapsed_s, arrivals.rate(elapsed_s), load, samples, draining))

        for number in itertools.count(1):
            period_s = CONTROLLER.sync_period_s / self.plan.speed
            await self._tend_until(self.began + number * period_s, stop, tell)
            if stop.is_set() or time.monotonic() - self.began >= self.plan.duration_s:
                return
            values = {name: await self._trigger_value(name) for name in TIERS}
            tell([self.tiers[name].sync(values[name]) for name in TIERS])

    async def _tend_until(
        self, moment: float, stop: asyncio.Event, tell: Callable[[list[Sample]], None]
    ) -> None:
        """Between two syncs: replace ended pods, scrape metrics, and poll KEDA's triggers."""
        while True:
            for name, tier in self.tiers.items():
                tier.replace_ended_pods()
                tier.scrape()
                if tier.is_polled() and (sample := tier.activate(await self._trigger_value(name))):
                    tell([sample])
            rest_s = moment - time.monotonic()
            if rest_s <= 0 or stop.is_set():
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), min(_POLL_S, rest_s))

    async def _trigger_value(self, name: str) -> int | None:
        """Return what KEDA's trigger of a tier reads now; None without one or without a value."""
        keda = self.plan.scaled_tiers.tiers[name].keda
        if keda is None or keda.reads is None:
            return None
        values = await asyncio.gather(
            *(_read_value(port, keda.reads) for port in self._read_tier(keda.reads).ready_ports())
        )
        known = [one for one in values if one is not None]
        return round(sum(known)) if known else None

    def _read_tier(self, reads: Reads) -> LabTier:
        try:
            return self.tiers[reads.service]
        except KeyError:
            raise LabFailed(f"a trigger reads the Service {reads.service}: no tier") from None

    async def _scale_to_zero(self) -> None:
        """Empty the tiers that KEDA scales to zero while nothing is in flight."""
        for name in TIERS:
            keda = self.plan.scaled_tiers.tiers[name].keda
            if keda is not None and keda.least == 0:
                await self.tiers[name].empty()

    @asynccontextmanager
    async def _pods(self) -> AsyncIterator[None]:
        """Start minReplicas pods of each tier; at the end of the block stop all, web first."""
        self.plan.decisions.write_text("", encoding="utf-8")
        self.limits = CpuLimits.find()
        self.say(_WITH_CGROUPS if self.limits else _WITHOUT_CGROUPS)
        try:
            for name in reversed(TIERS):
                tier = self.tiers[name] = self._tier(self.plan.scaled_tiers.tiers[name])
                if tier.downstream is not None:
                    tier.downstream.upstream = tier
                tier.start(max(1, self.plan.scaled_tiers.tiers[name].hpa.min_replicas))
            yield
        finally:
            for name in TIERS:
                if name in self.tiers:
                    await self.tiers[name].end()
            if self.limits is not None:
                self.limits.close()

    @asynccontextmanager
    async def _web_service(self) -> AsyncIterator[WebService]:
        web = WebService(self.tiers["web"].ready_ports)
        try:
            await web.start(self.plan.port)
        except OSError as error:
            raise LabFailed(f"cannot listen on port {self.plan.port}: {error}") from None
        try:
            yield web
        finally:
            await web.close()

    def _tier(self, tier: Tier) -> LabTier:
        name = tier.name
        following = TIERS[TIERS.index(name) + 1 :]
        downstream = following[0] if following else None
        ports = deque(_distinct_ports(tier.hpa.max_replicas + _SPARE))
        env = self._settings(name)
        if downstream is not None:
            known = self.tiers[downstream]
            taken = [pod.port for pod in known.pods]
            urls = ",".join(f"http://{LOOPBACK}:{port}" for port in (*taken, *known.ports))
            env[f"{downstream.upper()}_URL"] = urls
        if name == "web":
            env["LIVE_WEB_URL"] = ",".join(f"http://{LOOPBACK}:{port}" for port in ports)
        return LabTier(
            tier,
            Autoscaler(tier.hpa, CONTROLLER),
            env,
            Probe(tier.ready_period_s, tier.ready_failures, tier.startup_s),
            ports,
            self.plan.logs,
            self.clock,
            self.plan.speed,
            MetricsServer(self.plan.metrics_resolution_s),
            self.limits,
            self.say,
            self.tiers[downstream] if downstream else None,
            activator=Activator(tier.keda) if tier.keda else None,
        )

    def _settings(self, name: str) -> dict[str, str]:
        env = {"DRAIN_DELAY_S": str(_DRAIN_DELAY_S), "LOG_LEVEL": "warning", "ACCESS_TOKEN": ""}
        if any(one.keda for one in self.plan.scaled_tiers.tiers.values()):
            env["HOLD_S"] = str(_HOLD_S)
        if name == "web":
            env["LIVE_AUTOSCALERS"] = f"file:{self.plan.decisions}"
            # Otherwise the lab's own load would be no longer the one that it reports.
            env["LIVE_LOAD"] = str(self.plan.shape == "none").lower()
        else:
            env["THREADS"] = "1"
        if name == "inference":
            env |= {
                "MODEL_PATH": str(self.plan.model),
                "CACHE_DIR": str(self.plan.logs.resolve() / "cache"),
                # Measuring precisions in the background would change what the autoscaler sees.
                "PRECISION": "fp32",
            }
        return env

    async def _wait_ready(self, stop: asyncio.Event) -> None:
        self.say("starting the services ...")
        until = time.monotonic() + _START_TIMEOUT_S
        while not all(tier.ready_ports() for tier in self.tiers.values()):
            for tier in self.tiers.values():
                tier.replace_ended_pods()
                if time.monotonic() > until and not tier.ready_ports():
                    pod = tier.pods[0]
                    late = f"was not ready after {_START_TIMEOUT_S:.0f} s"
                    raise LabFailed(f"{pod.name} {late}: {pod.last_line()}")
            if stop.is_set():
                raise LabFailed("stopped before all services were ready")
            await asyncio.sleep(_POLL_S)

    async def _prepare(self, load: Load, stop: asyncio.Event) -> Arrivals:
        """Measure the CPU cost of a picture here and return a load that suits it."""
        high = self.plan.rate
        if self.plan.shape != "none":
            costs = await self._measure_costs(load, stop)
            if high is None:
                high = max(1.0, round(peak_rate(self.plan.scaled_tiers, costs, cores()), 1))
        high = high or 0.0
        return Arrivals(self.plan.shape, round(high * LOW, 2), high, self.plan.duration_s)

    async def _measure_costs(self, load: Load, stop: asyncio.Event) -> dict[str, float]:
        trial = Load(load.url, load.pictures)
        pictures = itertools.cycle(load.pictures)
        before = dict.fromkeys(self.tiers, 0.0)
        for number in range(_WARM_UP + _MEASURED):
            if number == _WARM_UP:
                before = {name: tier.used_cpu_s() for name, tier in self.tiers.items()}
            await trial.send(next(pictures))
            if stop.is_set():
                raise LabFailed("stopped before the load started")
        if trial.failed:
            raise LabFailed(f"a trial picture failed: {trial.first_failure}")
        costs = {
            name: (tier.used_cpu_s() - before[name]) / _MEASURED
            for name, tier in self.tiers.items()
        }
        shown = ", ".join(f"{name} {1000 * costs[name]:.1f}" for name in TIERS)
        self.say(f"CPU milliseconds per picture: {shown}")
        return costs

    def _report(self, elapsed_s: float, load: Load) -> LabReport:
        return LabReport(
            round(elapsed_s, 1),
            load.sent,
            load.failed,
            load.never_sent,
            load.first_failure,
            round(load.slowest_s, 3),
            "threads" if self.limits is None else "cgroup",
            tuple(
                TierReport(
                    name,
                    self.tiers[name].peak,
                    len(self.tiers[name].living),
                    self.tiers[name].changes,
                    self.tiers[name].crashes,
                    round(self.tiers[name].used_cpu_s(), 1),
                )
                for name in TIERS
            ),
        )


async def _read_value(port: int, reads: Reads) -> float | None:
    _, body = await get(port, "/metrics")
    return reads.series.value_in(body.decode())


def _distinct_ports(number: int) -> list[int]:
    ports: set[int] = set()
    while len(ports) < number:
        ports.add(free_port())
    return sorted(ports, key=lambda _: secrets.randbits(16))
