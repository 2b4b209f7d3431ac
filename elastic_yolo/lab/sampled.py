"""Converts an autoscaler's observations and decision to a sample of the timeline."""

from __future__ import annotations

from collections.abc import Sequence

from elastic_yolo.lab.autoscaler.hpa import Decision
from elastic_yolo.lab.autoscaler.manifest import Tier
from elastic_yolo.lab.autoscaler.pods import Pod, Usages
from elastic_yolo.lab.autoscaler.spec import Metric
from elastic_yolo.lab.timeline import Sample


def sample(
    at: float, tier: Tier, decision: Decision, pods: Sequence[Pod], usages: Usages
) -> Sample:
    """Return the sample; `pods` may include some that are being deleted."""
    living = [pod for pod in pods if not pod.deleting]
    known = [usages[pod.name].milli for pod in living if pod.name in usages]
    # The value that the autoscaler used, if its one metric is utilization: of the ready pods.
    percent = (
        float(decision.value)
        if decision.value is not None and _scales_by_utilization(tier)
        else None
    )
    if percent is None and known:
        percent = round(100 * sum(known) / len(known) / tier.request_milli, 1)
    return Sample(
        at=round(at, 3),
        tier=tier.name,
        replicas=decision.current,
        ready=sum(bool(pod.ready) for pod in living),
        desired=decision.desired,
        cpu_percent=percent,
        target_percent=target_percent(tier),
        cpu_s=round(sum(known) / 1000, 3) if known else None,
        why=decision.why,
        held=decision.held,
    )


def by_metric(tier: Tier, usages: Usages) -> dict[str, Usages]:
    """Return the CPU usages of the pods by the key of a metric.

    A pod is one process, that of the service: its usage is also that of the service's container.
    """
    return {"cpu": usages, f"cpu/{tier.container}": usages} if tier.container else {"cpu": usages}


def target_percent(tier: Tier) -> int | None:
    """Return the CPU target in per cent of the CPU request; None if there is none."""
    for metric in tier.hpa.metrics:
        if metric.name == "cpu" and metric.type in ("Resource", "ContainerResource"):
            return _percent(metric, tier.pod_requests.get(metric.key) or tier.request_milli)
    return None


def target_milli(tier: Tier) -> float:
    """Return the CPU usage per pod that the autoscaler aims at, the CPU request if there is none.

    In thousandths.
    """
    for metric in tier.hpa.metrics:
        if metric.name == "cpu" and metric.type in ("Resource", "ContainerResource"):
            request = tier.pod_requests.get(metric.key) or tier.request_milli
            return _percent(metric, request) / 100 * request
    return tier.request_milli


def _percent(metric: Metric, request_milli: int) -> int:
    if metric.utilization is not None:
        return metric.utilization
    return round(100 * (metric.average_milli or 0) / request_milli)


def _scales_by_utilization(tier: Tier) -> bool:
    return len(tier.hpa.metrics) == 1 and tier.hpa.metrics[0].utilization is not None
