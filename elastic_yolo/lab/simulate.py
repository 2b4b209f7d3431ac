"""The autoscalers of all tiers with modelled pods: no processes, and no waiting.

A fluid model in steps of one second: the ready pods share the arriving pictures evenly, use a fixed
CPU time per picture and at most their CPU limit; other pictures wait. Beyond `MAX_WAITING` per pod
of the first tier they are rejected, as web rejects them. Pictures that wait for a tier without a
ready pod are held, as the services hold them.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from elastic_yolo.lab.autoscaler.hpa import Autoscaler, Decision
from elastic_yolo.lab.autoscaler.keda import Activator
from elastic_yolo.lab.autoscaler.manifest import Tier
from elastic_yolo.lab.autoscaler.metrics_server import MetricsServer, Reading
from elastic_yolo.lab.autoscaler.pods import Pod, Usage
from elastic_yolo.lab.autoscaler.spec import Controller
from elastic_yolo.lab.sampled import by_metric, sample
from elastic_yolo.lab.timeline import Sample

MAX_WAITING = 128
"""MAX_IN_FLIGHT of the web service."""
_STEP_S = 1.0
# Utilization above which the formula for random arrivals is not used: what waits then is counted.
_BUSIEST = 0.9


class Load(Protocol):
    """A rate of pictures over time."""

    @property
    def duration_s(self) -> float:
        """Seconds until it ends."""
        ...

    def rate(self, at_s: float) -> float:
        """Return the pictures per second, `at_s` seconds after the start."""
        ...


@dataclass(frozen=True)
class Work:
    """The cost of a picture and of a start in one tier."""

    picture_cpu_s: float
    startup_s: float
    """From the decision until a pod is ready; it uses its whole CPU limit meanwhile."""


@dataclass(frozen=True)
class TierTotals:
    """One tier over the whole run."""

    tier: str
    peak_replicas: int
    last_replicas: int
    changes: int
    cpu_hours: float
    """CPU hours used."""
    requested_cpu_hours: float
    """CPU hours reserved by the pods' CPU requests, used or not."""


@dataclass(frozen=True)
class Totals:
    """The whole run."""

    tiers: tuple[TierTotals, ...]
    pictures: int
    unserved: int
    """Pictures rejected because too many waited."""
    overloaded_s: int
    """Seconds at whose end pictures waited for a tier at its limit."""
    longest_wait_s: float
    """The longest queueing time of one tier."""


@dataclass
class _Pod:
    name: str
    started_at: float
    ready_at: float


@dataclass
class Model:
    """One tier: its pods, its queue, its CPU usage."""

    tier: Tier
    work: Work
    autoscaler: Autoscaler
    metrics: MetricsServer = field(default_factory=MetricsServer)
    activator: Activator | None = None
    """KEDA's own part, if a ScaledObject scales the tier."""
    pods: list[_Pod] = field(default_factory=list)
    waiting: float = 0.0
    in_service: float = 0.0
    """Pictures in the ready pods, on average, those that just arrived at a busy one included."""
    held_since: float | None = None
    """When a picture first found no ready pod."""
    times: list[float] = field(default_factory=lambda: [0.0])
    shares: list[float] = field(default_factory=lambda: [0.0])
    """CPU seconds used by a pod that was ready all the time, at each of `times`."""
    cpu_s: float = 0.0
    held_s: float = 0.0
    peak: int = 0
    changes: int = 0
    made: int = 0

    @property
    def limit(self) -> float:
        """The CPUs that a pod may use."""
        milli = self.tier.limit_milli
        return (self.tier.request_milli if milli is None else milli) / 1000

    def add(self, number: int, now: float, startup_s: float) -> None:
        """Start pods; none if the number is not above 0."""
        for _ in range(number):
            self.made += 1
            name = f"{self.tier.name}-{self.made}"
            self.pods.append(_Pod(name, now, now + startup_s))

    def ready(self, now: float) -> int:
        """Return the number of ready pods, which come first in the order of starts."""
        return bisect_right(self.pods, now, key=lambda pod: pod.ready_at)

    def serve(self, arriving: float, now: float) -> float:
        """Advance by one second; return the pictures that reach the next tier."""
        ready, cost = self.ready(now), self.work.picture_cpu_s
        self.waiting += arriving
        able = ready * self.limit * _STEP_S / cost
        done = min(self.waiting, able)
        self.waiting -= done
        self.in_service = ready * _in_pod(done / able) if ready else 0.0
        if ready or not self.waiting:
            self.held_since = None
        elif self.held_since is None:
            self.held_since = now
        self.times.append(now + _STEP_S)
        self.shares.append(self.shares[-1] + (done * cost / ready if ready else 0.0))
        self.cpu_s += done * cost + (len(self.pods) - ready) * self.limit * _STEP_S
        self.held_s += len(self.pods) * self.tier.request_milli / 1000 * _STEP_S
        return done

    def wait_s(self, now: float) -> float:
        """Return how long a picture that comes now waits; without pods, how long the first has."""
        able = self.ready(now) * self.limit / self.work.picture_cpu_s
        if not able:
            return 0.0 if self.held_since is None else now + _STEP_S - self.held_since
        return self.waiting / able

    def sync(self, now: float, external: Mapping[str, int] | None = None) -> Sample:
        """Run the autoscaler once and start or delete pods accordingly.

        `external` has the values of External metrics, in thousandths.
        """
        seen, usages = self._observe(now)
        decision = self.autoscaler.decide(
            now, len(self.pods), seen, by_metric(self.tier, usages), external
        )
        self.scale_to(decision.desired, now)
        return sample(now, self.tier, decision, seen, usages)

    def follow(self, decision: Decision, now: float) -> Sample:
        """Start or delete pods as another than the autoscaler decided."""
        seen, usages = self._observe(now)
        self.scale_to(decision.desired, now)
        return sample(now, self.tier, decision, seen, usages)

    def scale_to(self, desired: int, now: float) -> None:
        """Start or delete pods."""
        more = desired - len(self.pods)
        if more:
            self.changes += 1
        self.add(more, now, self.work.startup_s)
        # The newest pods are deleted first, as a Deployment does.
        del self.pods[desired:]
        self.peak = max(self.peak, len(self.pods))

    def scrape(self, now: float) -> None:
        """Let metrics-server do what is due."""
        self.metrics.advance(now, partial(self._read, now))

    def _read(self, now: float) -> dict[str, Reading]:
        return {pod.name: Reading(pod.started_at, now, self._used_s(pod, now)) for pod in self.pods}

    def _observe(self, now: float) -> tuple[list[Pod], dict[str, Usage]]:
        usages, names = self.metrics.usages(), {pod.name for pod in self.pods}
        living = {name: usage for name, usage in usages.items() if name in names}
        return [self._as_seen(pod, now) for pod in self.pods], living

    def _as_seen(self, pod: _Pod, now: float) -> Pod:
        ready = pod.ready_at <= now
        return Pod(
            pod.name,
            self.tier.pod_requests,
            started_at=pod.started_at,
            ready=ready,
            ready_changed_at=pod.ready_at if ready else pod.started_at,
        )

    def _used_s(self, pod: _Pod, now: float) -> float:
        """Return the CPU seconds of a pod since its start."""
        working = self._share(now) - self._share(pod.ready_at) if pod.ready_at < now else 0.0
        return working + (min(now, pod.ready_at) - pod.started_at) * self.limit

    def _share(self, at: float) -> float:
        return self.shares[max(0, bisect_right(self.times, at) - 1)]

    def totals(self) -> TierTotals:
        """Return the sums so far."""
        return TierTotals(
            self.tier.name,
            self.peak,
            len(self.pods),
            self.changes,
            round(self.cpu_s / 3600, 3),
            round(self.held_s / 3600, 3),
        )


def start_model(
    tier: Tier, work: Work, controller: Controller, metrics: MetricsServer | None = None
) -> Model:
    """Return a tier with minReplicas pods that have been ready for long, at least one.

    KEDA has scaled a tier with a minReplicaCount of 0 to zero.
    """
    model = Model(tier, work, Autoscaler(tier.hpa, controller), metrics or MetricsServer())
    long_ago = -controller.cpu_initialization_period_s
    if tier.keda:
        model.activator = Activator(tier.keda)
    if tier.keda is None or tier.keda.least:
        model.add(max(1, tier.hpa.min_replicas), long_ago, 0)
    model.metrics.prime({pod.name: Reading(long_ago, 0.0, 0.0) for pod in model.pods})
    model.peak = len(model.pods)
    return model


def simulate(
    tiers: Sequence[tuple[Tier, Work]],
    arrivals: Load,
    controller: Controller,
    record: Callable[[Sample], None],
    metrics: Callable[[], MetricsServer] = MetricsServer,
    max_waiting: float = MAX_WAITING,
) -> Totals:
    """Run all tiers, in the order in which a picture passes them; `record` gets every sample.

    The samples' times are seconds since the start, when every tier has minReplicas pods; a sample
    is of a sync, or of a change that KEDA made itself. `metrics` returns a metrics-server for each
    tier, and `max_waiting` is the limit for each pod of the first tier.
    """
    models = [start_model(tier, work, controller, metrics()) for tier, work in tiers]
    pictures = unserved = longest_s = 0.0
    overloaded_s = 0
    for second in range(round(arrivals.duration_s)):
        now = float(second)
        _autoscale(models, controller, now, record)
        coming = arrivals.rate(now) * _STEP_S
        pictures += coming
        for model in models:
            coming = model.serve(coming, now)
        unserved += _reject(models, now, max_waiting)
        overloaded_s += any(model.waiting > 0 for model in models)
        longest_s = max(longest_s, *(model.wait_s(now) for model in models))
    return Totals(
        tuple(model.totals() for model in models),
        round(pictures),
        round(unserved),
        overloaded_s,
        round(longest_s, 1),
    )


def _autoscale(
    models: Sequence[Model], controller: Controller, now: float, record: Callable[[Sample], None]
) -> None:
    """Do what is due at a second: scrapes, then KEDA's polls, then the autoscalers' syncs."""
    in_flight = whole(sum(model.waiting + model.in_service for model in models))
    for model in models:
        model.scrape(now)
        if sample := activate(model, now, in_flight):
            record(sample)
    if now and now % controller.sync_period_s < _STEP_S:
        for model in models:
            record(model.sync(now, external(model.tier, in_flight) if model.activator else None))


def activate(model: Model, now: float, value: int) -> Sample | None:
    """Let KEDA poll its trigger, if that is due, and return the sample of a change."""
    activator, current = model.activator, len(model.pods)
    if activator is None or now % activator.spec.polling_s >= _STEP_S:
        return None
    change = activator.decide(now, current, value)
    return None if change is None else model.follow(change.decision(current), now)


def external(tier: Tier, value: int) -> dict[str, int]:
    """Return a value, in thousandths, as that of every External metric."""
    return {one.key: 1000 * value for one in tier.hpa.metrics if one.type == "External"}


def whole(pictures: float) -> int:
    """Return a number of pictures: what rounding left of one is none."""
    return math.ceil(pictures - 1e-6)


def _in_pod(utilization: float) -> float:
    """Return how many pictures are in a pod on average: one served, others behind it by chance.

    For arrivals at random and equal service times: the Pollaczek-Khinchine formula.
    """
    busy = min(utilization, _BUSIEST)
    return utilization + busy**2 / (2 * (1 - busy))


def _reject(models: Sequence[Model], now: float, max_waiting: float) -> float:
    """Remove pictures that wait beyond the first tier's limit, and return how many."""
    room = max_waiting * max(1, models[0].ready(now))
    over = max(0.0, sum(model.waiting for model in models) - room)
    rejected = over
    for model in models:
        taken = min(over, model.waiting)
        model.waiting -= taken
        over -= taken
    return rejected
