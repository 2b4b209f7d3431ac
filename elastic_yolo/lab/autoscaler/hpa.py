"""One HorizontalPodAutoscaler: from pods and their metrics to a number of replicas, with reasons.

It has no clock and does no input or output: callers of `decide` pass the time. The lab and the
simulation share it.
Source: kubernetes/kubernetes, pkg/controller/podautoscaler/horizontal.go (reconcileAutoscaler).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from elastic_yolo.lab.autoscaler.external import propose_external
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
from elastic_yolo.lab.autoscaler.spec import Behavior, Controller, HpaSpec, Metric
from elastic_yolo.lab.errors import MetricUnavailable


@dataclass(frozen=True)
class Condition:
    """A condition of the autoscaler's status, as `kubectl describe hpa` shows it."""

    type: str
    status: bool
    reason: str


@dataclass(frozen=True)
class Decision:
    """The result of one sync."""

    current: int
    desired: int
    why: str
    """Human-readable, one line: the change first, such as `2 -> 3: 96 % > 70 %`."""
    value: int | None
    """The deciding metric's: per cent of the pods' requests, or thousandths per pod or in all."""
    conditions: tuple[Condition, ...]
    held: str = ""
    """Why the number of pods stays, the same words in each sync; empty if it changes."""

    def reason(self, condition: str) -> str | None:
        """Return the reason of a condition; None if it is not set."""
        return next((each.reason for each in self.conditions if each.type == condition), None)


@dataclass
class Autoscaler:
    """The autoscaler of one tier and its history."""

    spec: HpaSpec
    controller: Controller = field(default_factory=Controller)
    history: History = field(default_factory=History)

    def decide(
        self,
        now: float,
        current: int,
        pods: Sequence[Pod],
        usages: Mapping[str, Usages | None],
        external: Mapping[str, int] | None = None,
    ) -> Decision:
        """Return the desired number of replicas; call it once every `sync_period_s`.

        `now` is in seconds and never decreases; `current` is the Deployment's number of replicas;
        `usages` are by the key of a metric, and `external` the values of External metrics, in
        thousandths. The change counts as made: the caller has to apply it.
        """
        if not self.history.recommendations:
            self.history.recommendations.append(Recommendation(current, now))
        if current == 0 and not self._leaves_zero:
            disabled = Condition("ScalingActive", False, "ScalingDisabled")
            why = "stays at 0: the autoscaler is disabled until there is a replica"
            return Decision(0, 0, why, None, (_ABLE, disabled), "disabled at 0 replicas")
        if not self.spec.min_replicas <= current <= self.spec.max_replicas:
            return self._bring_within(current, now)
        try:
            best, active = self._evaluate(now, current, pods, usages, external or {})
        except _Undecided as error:
            why = f"stays at {current}: {error}"
            return Decision(current, current, why, None, error.conditions, error.held)
        return self._apply(best, active, current, now)

    @property
    def _leaves_zero(self) -> bool:
        """Whether it starts the first pod as well: minReplicas is 0, and a metric needs no pod.

        Source: Kubernetes' enhancement 2021; enabled by default since 1.37.
        """
        kinds = {metric.type for metric in self.spec.metrics}
        return self.spec.min_replicas == 0 and "External" in kinds

    def _bring_within(self, current: int, now: float) -> Decision:
        spec = self.spec
        above = current > spec.max_replicas
        bound, name = (
            (spec.max_replicas, "maxReplicas") if above else (spec.min_replicas, "minReplicas")
        )
        self._remember(current, bound, now)
        why = f"{current} -> {bound}: {'above' if above else 'below'} {name}"
        return Decision(current, bound, why, None, (_RESCALED,))

    def _evaluate(
        self,
        now: float,
        current: int,
        pods: Sequence[Pod],
        usages: Mapping[str, Usages | None],
        external: Mapping[str, int],
    ) -> tuple[Proposal, Condition]:
        """Return the largest proposal; raises _Undecided."""
        tolerances = Tolerances.of(self.spec, self.controller)
        best: Proposal | None = None
        failed: list[tuple[Metric, MetricUnavailable]] = []
        for metric in self.spec.metrics:
            try:
                if metric.type == "External":
                    value = external.get(metric.key)
                    found = propose_external(metric, value, pods, current, tolerances)
                else:
                    used = usages.get(metric.key)
                    found = propose(metric, pods, used, current, tolerances, self.controller, now)
            except MetricUnavailable as error:
                failed.append((metric, error))
                continue
            if best is None or found.replicas > best.replicas:
                best = found
        if best is None or (failed and best.replicas < current):
            metric, missing = failed[0]
            inactive = Condition("ScalingActive", False, f"FailedGet{metric.type}Metric")
            why = str(missing) if best is None else f"{best.comparison}, but {missing}"
            held = str(missing) if best is None else f"nothing is removed while {missing}"
            raise _Undecided(why, held, (_ABLE, inactive))
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
            _held(self.spec, best, stable, limited) if limited.replicas == current else "",
        )

    def _remember(self, before: int, after: int, now: float) -> None:
        if after != before and self.spec.behavior is not None:
            self.history.store(self.spec.behavior, before, after, now)


ENOUGH = "as many pods as the metric asks for"
NEAR = "within the tolerance"
"""The usual reasons for no change."""
_UP = "ScaleUpStabilized"
_ABLE = Condition("AbleToScale", True, "SucceededGetScale")
_RESCALED = Condition("AbleToScale", True, "SucceededRescale")


class _Undecided(Exception):
    """Metrics are missing, and the remaining ones must not scale down alone."""

    def __init__(self, why: str, held: str, conditions: tuple[Condition, ...]) -> None:
        super().__init__(why)
        self.held = held
        self.conditions = conditions


def _held(spec: HpaSpec, best: Proposal, stable: Limited, limited: Limited) -> str:
    """Return the rule that keeps the number of pods, the last that applied first."""
    if limited.reason in ("ScaleUpLimit", "ScaleDownLimit"):
        up = limited.reason == "ScaleUpLimit"
        behavior = spec.behavior or Behavior()
        disabled = (behavior.up if up else behavior.down).select == "Disabled"
        direction = "scaleUp" if up else "scaleDown"
        return f"{direction} is disabled" if disabled else f"the policies of {direction}"
    if limited.words:
        return limited.words
    if stable.words:
        return f"the stabilization window of {'scaleUp' if stable.reason == _UP else 'scaleDown'}"
    if best.is_near:
        return NEAR
    return "pods that start or have no metrics" if best.notes else ENOUGH


def _sentence(best: Proposal, current: int, stable: Limited, limited: Limited) -> str:
    """Return the change, the comparison behind it, and the rules that limited it."""
    after = limited.replicas
    change = f"stays at {current}" if after == current else f"{current} -> {after}"
    limits = [step.words for step in (stable, limited) if step.words]
    if best.replicas != after:
        limits.insert(0, f"wants {best.replicas}")
    return ", ".join([f"{change}: {best.comparison}", *best.notes, *limits])
