"""The number of replicas that one metric proposes.

Sources: kubernetes/kubernetes, pkg/controller/podautoscaler/replica_calculator.go and
metrics/utilization.go. As there, utilization is truncated to a whole per cent before it is divided.
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
    """The deviations of a ratio from 1 that cause no change."""

    down: float
    up: float

    @classmethod
    def of(cls, spec: HpaSpec, controller: Controller) -> Tolerances:
        """Return the manifest's tolerances; where it has none, the controller's."""
        if spec.behavior is None:
            return cls(controller.tolerance, controller.tolerance)
        own = (spec.behavior.down.tolerance, spec.behavior.up.tolerance)
        down, up = (controller.tolerance if one is None else one for one in own)
        return cls(down, up)

    def contains(self, ratio: float) -> bool:
        """Return whether a ratio is within the tolerance."""
        return 1.0 - self.down <= ratio <= 1.0 + self.up

    def describe(self) -> str:
        """Return a clause that says that a ratio is within."""
        down, up = (f"{tolerance:.0%}" for tolerance in (self.down, self.up))
        within = up if down == up else f"-{down} to +{up}"
        return f"within the tolerance of {within.replace('%', ' %')}"


@dataclass(frozen=True)
class Proposal:
    """The replicas that a metric proposes, and why."""

    replicas: int
    value: int
    """Per cent of the requests, or thousandths per pod, of the ready pods only; of an External
    metric, thousandths per pod or in all."""
    comparison: str
    """Value and target, such as `96 % > 70 %`."""
    notes: tuple[str, ...] = ()
    """The value if other pods count as well, and the tolerance where it applied."""
    is_near: bool = False
    """Whether the tolerance applied."""


def propose(
    metric: Metric,
    pods: Sequence[Pod],
    usages: Usages | None,
    current: int,
    tolerances: Tolerances,
    controller: Controller,
    now: float,
) -> Proposal:
    """Return the proposal of a metric; raises MetricUnavailable.

    `usages` are of the metric's resource, None if there are no metrics.
    """
    if metric.type not in ("Resource", "ContainerResource"):
        raise MetricUnavailable(f"{metric.type} metric {metric.name} is not available here")
    of_container = f" of the container {metric.container}" if metric.container else ""
    if not usages:
        raise MetricUnavailable(f"no {metric.name} metrics{of_container or ' of any pod'}")
    if not pods:
        raise MetricUnavailable("there are no pods")
    groups = group_pods(pods, usages, metric.name, controller, now)
    out = {*groups.unready, *(pod.name for pod in pods if pod.deleting or _has_ended(pod))}
    known = {name: usage.milli for name, usage in usages.items() if name not in out}
    if not known:
        raise MetricUnavailable(f"no {metric.name} metrics of any ready pod")
    scale = _Scale(metric, _requests(metric, pods))
    return _Calculation(scale, groups, known, current, tolerances).propose()


def _has_ended(pod: Pod) -> bool:
    return pod.phase in ("Succeeded", "Failed")


def _requests(metric: Metric, pods: Sequence[Pod]) -> Mapping[str, int]:
    if metric.utilization is None:
        return {}
    for pod in pods:
        if metric.key not in pod.requests:
            who = f"container {metric.container}" if metric.container else f"pod {pod.name}"
            raise MetricUnavailable(f"{who} has no {metric.name} request")
    return {pod.name: pod.requests[metric.key] for pod in pods}


@dataclass(frozen=True)
class _Scale:
    """Converts the pods' values to one value and its ratio to the target."""

    metric: Metric
    requests: Mapping[str, int]

    def measure(self, known: Mapping[str, int]) -> tuple[float, int]:
        """Return ratio and value; raises MetricUnavailable."""
        if self.metric.utilization is not None:
            shared = known.keys() & self.requests.keys()
            requested = sum(self.requests[name] for name in shared)
            if not shared:
                raise MetricUnavailable(f"no {self.metric.name} metrics of a known pod")
            if requested == 0:
                raise MetricUnavailable(f"the {self.metric.name} request is 0")
            percent = sum(known[name] for name in shared) * 100 // requested
            return percent / self.metric.utilization, percent
        average = sum(known.values()) // len(known)
        return average / (self.metric.average_milli or 1), average

    def full(self, name: str) -> int:
        """Return the value of a pod that counts as fully used."""
        if self.metric.utilization is not None:
            return self.requests[name] * max(100, self.metric.utilization) // 100
        return self.metric.average_milli or 0

    def describe(self, value: int) -> str:
        if self.metric.utilization is not None:
            target = self.metric.utilization
            what = "" if self.metric.name == "cpu" else f"{self.metric.name} "
            return f"{what}{value} % {sign(value, target)} {target} %"
        target = self.metric.average_milli or 0
        return f"{self.metric.name} {value}m {sign(value, target)} {target}m per pod"

    def describe_value(self, value: int) -> str:
        return f"{value} %" if self.metric.utilization is not None else f"{value}m"


@dataclass(frozen=True)
class _Calculation:
    scale: _Scale
    groups: Groups
    known: dict[str, int]
    current: int
    tolerances: Tolerances

    def propose(self) -> Proposal:
        ratio, value = self.scale.measure(self.known)
        near = self.tolerances.describe()
        comparison = self.scale.describe(value)
        idle_starters = bool(self.groups.unready) and ratio > 1.0
        if not idle_starters and not self.groups.missing:
            if self.tolerances.contains(ratio):
                return Proposal(self.current, value, comparison, (near,), is_near=True)
            return Proposal(math.ceil(ratio * len(self.groups.ready)), value, comparison)
        counted, assumption = self._fill(ratio)
        again, recalculated = self.scale.measure(counted)
        but = f"but {self.scale.describe_value(recalculated)} if {assumption}: "
        if self.tolerances.contains(again):
            notes = (but + near if assumption else near,)
            return Proposal(self.current, value, comparison, notes, is_near=True)
        wanted = math.ceil(again * len(counted))
        reversed_ = (ratio < 1.0 < again) or (again < 1.0 < ratio)
        reversed_ |= again < 1.0 and wanted > self.current
        reversed_ |= again > 1.0 and wanted < self.current
        if reversed_:
            note = but + "that would scale the other way, so no change"
            return Proposal(self.current, value, comparison, (note,))
        return Proposal(wanted, value, comparison, (but.removesuffix(": "),))

    def _fill(self, ratio: float) -> tuple[dict[str, int], str]:
        """Return the values including those of other pods, and how those count, in words."""
        missing, unready = self.groups.missing, self.groups.unready
        if missing and ratio < 1.0:
            full = {name: self.scale.full(name) for name in missing}
            return self.known | full, _assume("fully used", missing, ())
        if ratio > 1.0:
            idle = dict.fromkeys((*missing, *unready), 0)
            return self.known | idle, _assume("idle", missing, unready)
        return dict(self.known), ""


def _assume(state: str, missing: Sequence[str], unready: Sequence[str]) -> str:
    """Return a clause such as `the pod without metrics counts as idle`."""
    groups = [
        f"the {'pod' if len(names) == 1 else f'{len(names)} pods'} {which}"
        for names, which in ((missing, "without metrics"), (unready, "that just started"))
        if names
    ]
    verb = "counts" if len(missing) + len(unready) == 1 else "count"
    return f"{' and '.join(groups)} {verb} as {state}"


def sign(value: int, target: int) -> str:
    """Return how a value compares with its target."""
    if value == target:
        return "="
    return ">" if value > target else "<"
