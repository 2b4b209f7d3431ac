"""What stands between a proposal and the replicas: time windows, policies, bounds.

Source: kubernetes/kubernetes, pkg/controller/podautoscaler/horizontal.go
(stabilizeRecommendationWithBehaviors, convertDesiredReplicasWithBehaviorRate, and their namesakes
for autoscalers without `behavior`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from elastic_yolo.lab.autoscaler.spec import Behavior, Controller, HpaSpec, ScalingRules


@dataclass(frozen=True)
class Recommendation:
    """What was proposed, before anything held it back."""

    replicas: int
    at: float


@dataclass
class ScaleEvent:
    """A change that was made: so many pods more, or fewer."""

    change: int
    at: float
    outdated: bool = False


@dataclass
class History:
    """What an autoscaler remembers between two looks."""

    recommendations: list[Recommendation] = field(default_factory=list)
    ups: list[ScaleEvent] = field(default_factory=list)
    downs: list[ScaleEvent] = field(default_factory=list)

    def changes(self, period_s: float, now: float) -> int:
        """Return by how many pods it grew within the last so many seconds."""
        after = now - period_s
        grown = sum(event.change for event in self.ups if event.at > after)
        return grown - sum(event.change for event in self.downs if event.at > after)

    def store(self, behavior: Behavior, before: int, after: int, now: float) -> None:
        """Remember a change as the controller does: a new one takes the place of an old one."""
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
    """Replicas after a step, the reason as Kubernetes calls it, and in plain words if it acted."""

    replicas: int
    reason: str
    words: str = ""


WITHIN = "DesiredWithinRange"


def stabilize(
    spec: HpaSpec, controller: Controller, history: History, current: int, desired: int, now: float
) -> Limited:
    """Let recent recommendations hold back a new one, and remember it.

    Down no further than the highest of the window, up no further than the lowest.
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
        # Without `behavior` the window's own edge belongs to it.
        highest = max([highest, *(one.replicas for one in kept if one.at == now - down_s)])
        stable = highest
    else:
        stable = min(max(current, lowest), highest)
    kept[:] = [one for one in kept if one.at >= now - max(up_s, down_s)]
    kept.append(Recommendation(desired, now))
    if stable == desired:
        return Limited(stable, "ReadyForNewScale")
    if desired >= current and spec.behavior is not None:
        words = f"held at {stable} by the lowest recommendation of the last {up_s:.0f} s"
        return Limited(stable, "ScaleUpStabilized", words)
    words = f"held at {stable} by the highest recommendation of the last {down_s:.0f} s"
    return Limited(stable, "ScaleDownStabilized", words)


def limit(spec: HpaSpec, history: History, current: int, desired: int, now: float) -> Limited:
    """Bring a stabilised recommendation within the policies, minReplicas and maxReplicas."""
    if spec.behavior is None:
        return _limit_without_behavior(spec, current, desired)
    if desired > current:
        most = max(current, _most(spec.behavior.up, history, current, now))
        if desired > (allowed := min(most, spec.max_replicas)):
            if spec.max_replicas <= most:
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
    """Down as far as it likes, up to the double or to 4, as the controller itself has it."""
    most = max(2 * current, 4)
    if desired < spec.min_replicas:
        return _too_few(spec)
    if desired <= (allowed := min(most, spec.max_replicas)):
        return Limited(desired, WITHIN)
    if spec.max_replicas <= most:
        return _too_many(spec)
    return Limited(allowed, "ScaleUpLimit", f"limited to {allowed}, the double or 4 at once")


def _most(rules: ScalingRules, history: History, current: int, now: float) -> int:
    if rules.select == "Disabled":
        return current
    proposed = []
    for policy in rules.policies:
        start = current - history.changes(policy.period_s, now)
        # With the controller's own roundings: 100 pods and 10 per cent are 111.
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
    """Return the limit that lets most happen for Max, least for Min."""
    if not proposed:
        return current
    return max(proposed) if up == (rules.select == "Max") else min(proposed)


def _too_many(spec: HpaSpec) -> Limited:
    words = f"limited to {spec.max_replicas} by maxReplicas"
    return Limited(spec.max_replicas, "TooManyReplicas", words)


def _too_few(spec: HpaSpec) -> Limited:
    words = f"limited to {spec.min_replicas} by minReplicas"
    return Limited(spec.min_replicas, "TooFewReplicas", words)


def _by_policy(rules: ScalingRules, allowed: int, direction: str) -> str:
    if rules.select == "Disabled":
        return f"held at {allowed}, because scale{direction} is disabled"
    return f"limited to {allowed} by scale{direction}"
