"""The number of replicas that an External metric proposes: one value, such as a queue's length.

Source: kubernetes/kubernetes, pkg/controller/podautoscaler/replica_calculator.go
(GetExternalMetricReplicas, GetExternalPerPodMetricReplicas, getUsageRatioReplicaCount).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from elastic_yolo.lab.autoscaler.pods import Pod
from elastic_yolo.lab.autoscaler.replicas import Proposal, Tolerances, sign
from elastic_yolo.lab.autoscaler.spec import Metric
from elastic_yolo.lab.errors import MetricUnavailable

_MOST = 2**31 - 1
"""The largest number of replicas that the API can hold."""


def propose_external(
    metric: Metric,
    total_milli: int | None,
    pods: Sequence[Pod],
    current: int,
    tolerances: Tolerances,
) -> Proposal:
    """Return the proposal for a value in thousandths; raises MetricUnavailable if there is none.

    With a target per pod, how many pods are ready makes no difference. With a target for the whole
    metric, the ready pods are multiplied by the ratio of value and target.
    """
    if total_milli is None:
        raise MetricUnavailable(f"External metric {metric.name} is not available here")
    if metric.average_milli is not None:
        return _by_average(metric.name, total_milli, metric.average_milli, current, tolerances)
    return _by_value(metric.name, total_milli, metric.value_milli or 1, pods, current, tolerances)


def _by_average(
    name: str, total: int, target: int, current: int, tolerances: Tolerances
) -> Proposal:
    per_pod = math.ceil(total / current) if current else total
    compared = f"{name} {_show(per_pod)} {sign(per_pod, target)} {_show(target)} per pod"
    # Without a pod the ratio is infinite or undefined, neither of which is within a tolerance.
    if current and tolerances.contains(total / (target * current)):
        return Proposal(current, per_pod, compared, (tolerances.describe(),), is_near=True)
    return Proposal(min(_MOST, math.ceil(total / target)), per_pod, compared)


def _by_value(
    name: str, total: int, target: int, pods: Sequence[Pod], current: int, tolerances: Tolerances
) -> Proposal:
    ratio = total / target
    compared = f"{name} {_show(total)} {sign(total, target)} {_show(target)}"
    if not current:
        return Proposal(min(_MOST, math.ceil(ratio)), total, compared)
    if tolerances.contains(ratio):
        return Proposal(current, total, compared, (tolerances.describe(),), is_near=True)
    if not pods:
        raise MetricUnavailable("there are no pods")
    ready = sum(pod.phase == "Running" and bool(pod.ready) for pod in pods)
    notes = () if ready == current else (f"times the {ready} of {current} pods that are ready",)
    return Proposal(min(_MOST, math.ceil(ratio * ready)), total, compared, notes)


def _show(milli: int) -> str:
    """Return a quantity as Kubernetes writes it: 3, or 2867m."""
    return f"{milli}m" if milli % 1000 else f"{milli // 1000}"
