"""One HorizontalPodAutoscaler: from pods and their metrics to a number of replicas, with reasons.

No clock and no input or output: whoever calls `decide` says what time it is. The lab and the
simulation both do.
Source: kubernetes/kubernetes, pkg/controller/podautoscaler/horizontal.go (reconcileAutoscaler).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from elastic_yolo.lab.autoscaler.limits import (
    WITHIN,
    History,
    Limited,
    Recommendation,
    limit,
    stabilize,
)
from elastic_yolo.lab.autoscaler.pods import Pod, Usages
from elastic_yolo.lab.autoscaler.replicas import Proposal, Tolerances, propose
from elastic_yolo.lab.autoscaler.spec import Controller, HpaSpec, Metric
from elastic_yolo.lab.errors import MetricUnavailable


@dataclass(frozen=True)
class Condition:
    """A condition of the autoscaler's status, as `kubectl describe hpa` shows it."""

    type: str
    status: bool
    reason: str


@dataclass(frozen=True)
class Decision:
    """What comes of one look."""

    current: int
    desired: int
    why: str
    """One sentence for people."""
    value: int | None
    """Of the metric that decided: per cent of the request, or thousandths a pod."""
    conditions: tuple[Condition, ...]

    def reason(self, condition: str) -> str | None:
        """Return the reason of a condition, None if it is not set."""
        return next((one.reason for one in self.conditions if one.type == condition), None)


@dataclass
class Autoscaler:
    """The autoscaler of one tier, and what it remembers."""

    spec: HpaSpec
    controller: Controller = field(default_factory=Controller)
    history: History = field(default_factory=History)

    def decide(
        self,
        now: float,
        current: int,
        pods: Sequence[Pod],
        usages: Mapping[str, Usages | None],
    ) -> Decision:
        """Look once, every `sync_period_s`, and return how many replicas there are to be.

        `now` is in seconds and never goes back; `current` is the Deployment's number of replicas;
        `usages` are by resource. The caller makes it so: the change counts as made.
        """
        if not self.history.recommendations:
            self.history.recommendations.append(Recommendation(current, now))
        if current == 0:
            disabled = Condition("ScalingActive", False, "ScalingDisabled")
            why = "0 replicas: the autoscaler is disabled until there is one"
            return Decision(0, 0, why, None, (_ABLE, disabled))
        if not self.spec.min_replicas <= current <= self.spec.max_replicas:
            return self._bring_within(current, now)
        try:
            best, active = self._ask_metrics(now, current, pods, usages)
        except _NothingCanBeSaid as said:
            return Decision(current, current, f"{said}: stays at {current}", None, said.conditions)
        return self._apply(best, active, current, now)

    def _bring_within(self, current: int, now: float) -> Decision:
        spec = self.spec
        above = current > spec.max_replicas
        bound, name = (
            (spec.max_replicas, "maxReplicas") if above else (spec.min_replicas, "minReplicas")
        )
        self._remember(current, bound, now)
        side = "above" if above else "below"
        why = f"{current} replicas are {side} {name}: {current} -> {bound}"
        return Decision(current, bound, why, None, (_RESCALED,))

    def _ask_metrics(
        self, now: float, current: int, pods: Sequence[Pod], usages: Mapping[str, Usages | None]
    ) -> tuple[Proposal, Condition]:
        """Return the largest proposal; raises _NothingCanBeSaid."""
        tolerances = Tolerances.of(self.spec, self.controller)
        best: Proposal | None = None
        failed: list[tuple[Metric, MetricUnavailable]] = []
        for metric in self.spec.metrics:
            try:
                found = propose(
                    metric, pods, usages.get(metric.name), current, tolerances, self.controller, now
                )
            except MetricUnavailable as error:
                failed.append((metric, error))
                continue
            if best is None or found.replicas > best.replicas:
                best = found
        if best is None or (failed and best.replicas < current):
            metric, missing = failed[0]
            inactive = Condition("ScalingActive", False, f"FailedGet{metric.type}Metric")
            said = str(missing) if best is None else f"{best.why}, but {missing}"
            raise _NothingCanBeSaid(said, (_ABLE, inactive))
        return best, Condition("ScalingActive", True, "ValidMetricFound")

    def _apply(self, best: Proposal, active: Condition, current: int, now: float) -> Decision:
        stable = stabilize(self.spec, self.controller, self.history, current, best.replicas, now)
        limited = limit(self.spec, self.history, current, stable.replicas, now)
        able = _RESCALED
        if limited.replicas == current:
            able = Condition("AbleToScale", True, stable.reason)
        held = Condition("ScalingLimited", limited.reason != WITHIN, limited.reason)
        self._remember(current, limited.replicas, now)
        return Decision(
            current,
            limited.replicas,
            _sentence(best, current, stable, limited),
            best.value,
            (able, active, held),
        )

    def _remember(self, before: int, after: int, now: float) -> None:
        if after != before and self.spec.behavior is not None:
            self.history.store(self.spec.behavior, before, after, now)


_ABLE = Condition("AbleToScale", True, "SucceededGetScale")
_RESCALED = Condition("AbleToScale", True, "SucceededRescale")


class _NothingCanBeSaid(Exception):
    """Metrics are away, and what is left may not scale down alone."""

    def __init__(self, said: str, conditions: tuple[Condition, ...]) -> None:
        super().__init__(said)
        self.conditions = conditions


def _sentence(best: Proposal, current: int, stable: Limited, limited: Limited) -> str:
    held = [step.words for step in (stable, limited) if step.words]
    if best.replicas == current and not held:
        return f"{best.why}: stays at {current}"
    if best.replicas == current:
        return ", ".join([f"{best.why}: {current}", *held])
    return ", ".join([f"{best.why}: {current} -> {best.replicas}", *held])
