"""The autoscalers of all tiers with modelled pods: no processes, and no waiting.

A fluid model in steps of one second: the ready pods share the arriving pictures evenly, use a fixed
CPU time per picture and at most their CPU limit; other pictures wait. Beyond `MAX_WAITING` per pod
of the first tier they are rejected, as web rejects them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from elastic_yolo.lab.autoscaler.hpa import Autoscaler, Decision
from elastic_yolo.lab.autoscaler.manifest import Tier
from elastic_yolo.lab.autoscaler.pods import Pod, Usage
from elastic_yolo.lab.autoscaler.spec import Controller
from elastic_yolo.lab.load.arrivals import Arrivals
from elastic_yolo.lab.sampled import by_metric, sample
from elastic_yolo.lab.timeline import Sample

MAX_WAITING = 128
"""MAX_IN_FLIGHT of the web service."""
METRICS_PERIOD_S = 15.0
"""--metric-resolution of metrics-server, as its own manifests set it."""
_STEP_S = 1.0


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
    pods: list[_Pod] = field(default_factory=list)
    waiting: float = 0.0
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
        self.times.append(now + _STEP_S)
        self.shares.append(self.shares[-1] + (done * cost / ready if ready else 0.0))
        self.cpu_s += done * cost + (len(self.pods) - ready) * self.limit * _STEP_S
        self.held_s += len(self.pods) * self.tier.request_milli / 1000 * _STEP_S
        return done

    def wait_s(self, now: float) -> float:
        """Return how long a picture that comes now waits, 0 without pods."""
        able = self.ready(now) * self.limit / self.work.picture_cpu_s
        return self.waiting / able if able else 0.0

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

    def _observe(self, now: float) -> tuple[list[Pod], dict[str, Usage]]:
        since = now - METRICS_PERIOD_S
        usages = {
            pod.name: Usage(self._used_milli(pod, since, now), now, METRICS_PERIOD_S)
            for pod in self.pods
            # A pod that started after the previous sync has only one reading.
            if pod.started_at <= since
        }
        return [self._as_seen(pod, now) for pod in self.pods], usages

    def _as_seen(self, pod: _Pod, now: float) -> Pod:
        ready = pod.ready_at <= now
        return Pod(
            pod.name,
            self.tier.pod_requests,
            started_at=pod.started_at,
            ready=ready,
            ready_changed_at=pod.ready_at if ready else pod.started_at,
        )

    def _used_milli(self, pod: _Pod, since: float, now: float) -> int:
        from_s = max(since, pod.ready_at)
        working = self._share(now) - self._share(from_s) if from_s < now else 0.0
        starting = max(0.0, min(now, pod.ready_at) - max(since, pod.started_at))
        return round(1000 * (working + starting * self.limit) / (now - since))

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


def start_model(tier: Tier, work: Work, controller: Controller) -> Model:
    """Return a tier with minReplicas pods that have been ready for long, at least one."""
    model = Model(tier, work, Autoscaler(tier.hpa, controller))
    model.add(max(1, tier.hpa.min_replicas), -controller.cpu_initialization_period_s, 0)
    model.peak = len(model.pods)
    return model


def simulate(
    tiers: Sequence[tuple[Tier, Work]],
    arrivals: Arrivals,
    controller: Controller,
    record: Callable[[Sample], None],
) -> Totals:
    """Run all tiers, in the order in which a picture passes them; `record` gets every sample.

    The samples' times are seconds since the start, when every tier has minReplicas pods.
    """
    models = [start_model(tier, work, controller) for tier, work in tiers]
    pictures = unserved = longest_s = 0.0
    overloaded_s = 0
    for second in range(round(arrivals.duration_s)):
        now = float(second)
        if second and now % controller.sync_period_s < _STEP_S:
            for model in models:
                record(model.sync(now))
        coming = arrivals.rate(now) * _STEP_S
        pictures += coming
        for model in models:
            coming = model.serve(coming, now)
        unserved += _reject(models, now)
        overloaded_s += any(model.waiting > 0 for model in models)
        longest_s = max(longest_s, *(model.wait_s(now) for model in models))
    return Totals(
        tuple(model.totals() for model in models),
        round(pictures),
        round(unserved),
        overloaded_s,
        round(longest_s, 1),
    )


def _reject(models: Sequence[Model], now: float) -> float:
    """Remove pictures that wait beyond the first tier's limit, and return how many."""
    room = MAX_WAITING * max(1, models[0].ready(now))
    over = max(0.0, sum(model.waiting for model in models) - room)
    rejected = over
    for model in models:
        taken = min(over, model.waiting)
        model.waiting -= taken
        over -= taken
    return rejected
