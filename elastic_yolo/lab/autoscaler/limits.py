"""Limits between a proposal and the replicas: stabilization windows, policies, bounds.

Source: kubernetes/kubernetes, pkg/controller/podautoscaler/horizontal.go
(stabilizeRecommendationWithBehaviors, convertDesiredReplicasWithBehaviorRate, and the functions of
the same names for autoscalers without `behavior`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from elastic_yolo.lab.autoscaler.spec import Behavior, Controller, HpaSpec, ScalingRules


@dataclass(frozen=True)
class Recommendation:
    """A proposal before any limit."""

    replicas: int
    at: float


@dataclass
class ScaleEvent:
    """A change that was made, in pods."""

    change: int
    at: float
    outdated: bool = False


@dataclass
class History:
    """The state that an autoscaler keeps between two syncs."""

    recommendations: list[Recommendation] = field(default_factory=list)
    ups: list[ScaleEvent] = field(default_factory=list)
    downs: list[ScaleEvent] = field(default_factory=list)

    def changes(self, period_s: float, now: float) -> int:
        """Return the net growth in pods within the last `period_s` seconds."""
        after = now - period_s
        grown = sum(event.change for event in self.ups if event.at > after)
        return grown - sum(event.change for event in self.downs if event.at > after)

    def store(self, behavior: Behavior, before: int, after: int, now: float) -> None:
        """Store a change as the controller does: a new one replaces an outdated one."""
        up = after > before
        events, rules = (self.ups, behavior.up) if up else (self.downs, behavior.down)
        longest = max((policy.period_s for policy in rules.policies), default=0)
        for event in events:
            event.outdated |= event.at < now - longest
        new = ScaleEvent(abs(after - before), now)
        old = [number for number, event in enumerate(events) if event.outdated]
        if old:
            events[old[-1]] = new
        else:
            events.append(new)


@dataclass(frozen=True)
class Limited:
    """Replicas after a step, Kubernetes' reason, and short words if the step changed anything."""

    replicas: int
    reason: str
    words: str = ""


WITHIN = "DesiredWithinRange"


def stabilize(
    spec: HpaSpec, controller: Controller, history: History, current: int, desired: int, now: float
) -> Limited:
    """Apply the stabilization windows to a recommendation, and store it.

    Down no further than the highest recommendation of the window, up no further than the lowest.
    """
    up_s, down_s = 0.0, controller.downscale_stabilization_s
    if spec.behavior is not None:
        up_s = float(spec.behavior.up.window_s or 0)
        own = spec.behavior.down.window_s
        down_s = down_s if own is None else float(own)
    kept = history.recommendations
    lowest = min([desired, *(one.replicas for one in kept if one.at > now - up_s)])
    highest = max([desired, *(one.replicas for one in kept if one.at > now - down_s)])
    if spec.behavior is None:
        # Without `behavior` the window includes its oldest moment.
        highest = max([highest, *(one.replicas for one in kept if one.at == now - down_s)])
        stable = highest
    else:
        stable = min(max(current, lowest), highest)
    kept[:] = [one for one in kept if one.at >= now - max(up_s, down_s)]
    kept.append(Recommendation(desired, now))
    if stable == desired:
        return Limited(stable, "ReadyForNewScale")
    if desired >= current and spec.behavior is not None:
        return Limited(stable, "ScaleUpStabilized", f"{up_s:.0f} s window holds {stable}")
    return Limited(stable, "ScaleDownStabilized", f"{down_s:.0f} s window holds {stable}")


def limit(spec: HpaSpec, history: History, current: int, desired: int, now: float) -> Limited:
    """Apply the policies, minReplicas and maxReplicas to a stabilized recommendation."""
    if spec.behavior is None:
        return _limit_without_behavior(spec, current, desired)
    if desired > current:
        bound = max(current, _most(spec.behavior.up, history, current, now))
        if desired > (allowed := min(bound, spec.max_replicas)):
            if spec.max_replicas <= bound:
                return _too_many(spec)
            return Limited(allowed, "ScaleUpLimit", _by_policy(spec.behavior.up, allowed, "Up"))
    elif desired < current:
        least = min(current, _least(spec.behavior.down, history, current, now))
        if desired < (allowed := max(least, spec.min_replicas)):
            if spec.min_replicas >= least:
                return _too_few(spec)
            words = _by_policy(spec.behavior.down, allowed, "Down")
            return Limited(allowed, "ScaleDownLimit", words)
    return Limited(desired, WITHIN)


def _limit_without_behavior(spec: HpaSpec, current: int, desired: int) -> Limited:
    """Limit growth to twice the replicas, or to 4: the controller's own rule."""
    bound = max(2 * current, 4)
    if desired < spec.min_replicas:
        return _too_few(spec)
    if desired <= (allowed := min(bound, spec.max_replicas)):
        return Limited(desired, WITHIN)
    if spec.max_replicas <= bound:
        return _too_many(spec)
    return Limited(allowed, "ScaleUpLimit", f"at most {allowed} in one step")


def _most(rules: ScalingRules, history: History, current: int, now: float) -> int:
    if rules.select == "Disabled":
        return current
    proposed = []
    for policy in rules.policies:
        start = current - history.changes(policy.period_s, now)
        # Rounded as the controller does: 100 pods plus 10 per cent are 111.
        grown = math.ceil(start * (1 + policy.value / 100))
        proposed.append(start + policy.value if policy.type == "Pods" else grown)
    return _select(rules, proposed, current, up=True)


def _least(rules: ScalingRules, history: History, current: int, now: float) -> int:
    if rules.select == "Disabled":
        return current
    proposed = []
    for policy in rules.policies:
        start = current - history.changes(policy.period_s, now)
        shrunk = math.trunc(start * (1 - policy.value / 100))
        proposed.append(start - policy.value if policy.type == "Pods" else shrunk)
    return _select(rules, proposed, current, up=False)


def _select(rules: ScalingRules, proposed: Sequence[int], current: int, *, up: bool) -> int:
    """Return the limit that allows the largest change for Max, the smallest for Min."""
    if not proposed:
        return current
    return max(proposed) if up == (rules.select == "Max") else min(proposed)


def _too_many(spec: HpaSpec) -> Limited:
    return Limited(spec.max_replicas, "TooManyReplicas", f"maxReplicas is {spec.max_replicas}")


def _too_few(spec: HpaSpec) -> Limited:
    return Limited(spec.min_replicas, "TooFewReplicas", f"minReplicas is {spec.min_replicas}")


def _by_policy(rules: ScalingRules, allowed: int, direction: str) -> str:
    if rules.select == "Disabled":
        return f"scale{direction} is disabled"
    return f"scale{direction} allows {allowed}"
