"""How many replicas one metric asks for.

Sources: kubernetes/kubernetes, pkg/controller/podautoscaler/replica_calculator.go and
metrics/utilization.go. Utilisation is cut to a whole per cent before it is divided, as there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from elastic_yolo.lab.autoscaler.pods import Groups, Pod, Usages, group_pods
from elastic_yolo.lab.autoscaler.spec import Controller, HpaSpec, Metric
from elastic_yolo.lab.errors import MetricUnavailable


@dataclass(frozen=True)
class Tolerances:
    """How far from 1 a ratio may be and nothing happens."""

    down: float
    up: float

    @classmethod
    def of(cls, spec: HpaSpec, controller: Controller) -> Tolerances:
        """Return those of the manifest, where it names any, else the controller's."""
        if spec.behavior is None:
            return cls(controller.tolerance, controller.tolerance)
        own = (spec.behavior.down.tolerance, spec.behavior.up.tolerance)
        down, up = (controller.tolerance if one is None else one for one in own)
        return cls(down, up)

    def hold(self, ratio: float) -> bool:
        """Tell whether a ratio is near enough to 1."""
        return 1.0 - self.down <= ratio <= 1.0 + self.up


@dataclass(frozen=True)
class Proposal:
    """What a metric asks for, and why."""

    replicas: int
    value: int
    """Per cent of the request, or thousandths a pod: of the ready pods alone."""
    why: str
    """The value and what is wanted, and whatever else counted, without the replicas."""


def propose(
    metric: Metric,
    pods: Sequence[Pod],
    usages: Usages | None,
    current: int,
    tolerances: Tolerances,
    controller: Controller,
    now: float,
) -> Proposal:
    """Return how many replicas a metric asks for; raises MetricUnavailable.

    `usages` are of the metric's resource, None where nobody could say anything.
    """
    if metric.type != "Resource":
        raise MetricUnavailable(f"{metric.type} metric {metric.name} cannot be had here")
    if not usages:
        raise MetricUnavailable(f"no {metric.name} metrics of any pod")
    if not pods:
        raise MetricUnavailable("there are no pods")
    groups = group_pods(pods, usages, metric.name, controller, now)
    out = {*groups.unready, *(pod.name for pod in pods if pod.deleting or _has_ended(pod))}
    known = {name: usage.milli for name, usage in usages.items() if name not in out}
    if not known:
        raise MetricUnavailable(f"no {metric.name} metrics of any pod that is ready")
    scale = _Scale(metric, _requests(metric, pods))
    return _Calculation(scale, groups, known, current, tolerances).propose()


def _has_ended(pod: Pod) -> bool:
    return pod.phase in ("Succeeded", "Failed")


def _requests(metric: Metric, pods: Sequence[Pod]) -> Mapping[str, int]:
    if metric.utilization is None:
        return {}
    for pod in pods:
        if metric.name not in pod.requests:
            raise MetricUnavailable(f"pod {pod.name} has no request for {metric.name}")
    return {pod.name: pod.requests[metric.name] for pod in pods}


@dataclass(frozen=True)
class _Scale:
    """Turns the pods' values into one value and its ratio to the target."""

    metric: Metric
    requests: Mapping[str, int]

    def measure(self, known: Mapping[str, int]) -> tuple[float, int]:
        """Return ratio and value; raises MetricUnavailable."""
        if self.metric.utilization is not None:
            shared = known.keys() & self.requests.keys()
            requested = sum(self.requests[name] for name in shared)
            if requested == 0:
                raise MetricUnavailable(f"no {self.metric.name} metrics of a pod that is known")
            percent = sum(known[name] for name in shared) * 100 // requested
            return percent / self.metric.utilization, percent
        average = sum(known.values()) // len(known)
        return average / (self.metric.average_milli or 1), average

    def full(self, name: str) -> int:
        """Return what a pod counts as where it is to count as fully used."""
        if self.metric.utilization is not None:
            return self.requests[name] * max(100, self.metric.utilization) // 100
        return self.metric.average_milli or 0

    def describe(self, value: int) -> str:
        if self.metric.utilization is not None:
            what = "" if self.metric.name == "cpu" else f"{self.metric.name} "
            return f"{value} % of the {what}request where {self.metric.utilization} % is wanted"
        wanted = self.metric.average_milli
        return f"{value}m of {self.metric.name} a pod where {wanted}m is wanted"


@dataclass(frozen=True)
class _Calculation:
    scale: _Scale
    groups: Groups
    known: dict[str, int]
    current: int
    tolerances: Tolerances

    def propose(self) -> Proposal:
        ratio, value = self.scale.measure(self.known)
        why = self.scale.describe(value)
        idle_starters = bool(self.groups.unready) and ratio > 1.0
        if not idle_starters and not self.groups.missing:
            if self.tolerances.hold(ratio):
                return Proposal(self.current, value, why + self._near())
            return Proposal(math.ceil(ratio * len(self.groups.ready)), value, why)
        counted, said = self._fill(ratio)
        why += said
        again, _ = self.scale.measure(counted)
        if self.tolerances.hold(again):
            return Proposal(self.current, value, why + self._near())
        wanted = math.ceil(again * len(counted))
        turned = (ratio < 1.0 < again) or (again < 1.0 < ratio)
        turned |= again < 1.0 and wanted > self.current
        turned |= again > 1.0 and wanted < self.current
        if turned:
            return Proposal(self.current, value, f"{why}, which would turn the direction")
        return Proposal(wanted, value, why)

    def _fill(self, ratio: float) -> tuple[dict[str, int], str]:
        """Return the values with those of pods that were set aside, and say what they count as."""
        counted, said = dict(self.known), ""
        missing, unready = self.groups.missing, self.groups.unready
        if missing and ratio < 1.0:
            counted |= {name: self.scale.full(name) for name in missing}
            said += f", {len(missing)} without metrics counted as fully used"
        elif missing and ratio > 1.0:
            counted |= dict.fromkeys(missing, 0)
            said += f", {len(missing)} without metrics counted as idle"
        if unready and ratio > 1.0:
            counted |= dict.fromkeys(unready, 0)
            said += f", {len(unready)} that {_be(unready)} not ready counted as idle"
        return counted, said

    def _near(self) -> str:
        down, up = (f"{tolerance:.0%}" for tolerance in (self.tolerances.down, self.tolerances.up))
        within = up if down == up else f"-{down} to +{up}"
        return f", within the tolerance of {within.replace('%', ' %')}"


def _be(pods: Sequence[str]) -> str:
    return "is" if len(pods) == 1 else "are"
