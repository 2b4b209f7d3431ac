"""Why tiers keep their number of pods: what is known at the start, and what a run showed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from elastic_yolo.lab.autoscaler.hpa import ENOUGH, NEAR
from elastic_yolo.lab.autoscaler.manifest import Tier
from elastic_yolo.lab.autoscaler.spec import Metric
from elastic_yolo.lab.timeline import Sample

Stays = Mapping[str, Mapping[str, int]]
"""By tier and reason, the number of syncs without a change."""
_USUAL = ("", ENOUGH, NEAR)


def notable(sample: Sample) -> str:
    """Return why a tier stays, if it is more than that the load asks for no change; else ""."""
    return "" if sample.held in _USUAL else sample.held


@dataclass
class Told:
    """The reasons that were told for each tier since its number of pods last changed."""

    _reasons: dict[tuple[str, int], set[str]] = field(default_factory=dict)

    def is_new(self, sample: Sample) -> bool:
        """Return whether a tier stays for a reason that was not told yet, and remember it."""
        now = (sample.tier, sample.replicas)
        for key in [key for key in self._reasons if key[0] == sample.tier and key != now]:
            del self._reasons[key]
        told = self._reasons.setdefault(now, set())
        reason = notable(sample)
        new = bool(reason) and reason not in told
        told.add(reason)
        return new


def count_stays(samples: Iterable[Sample]) -> dict[str, dict[str, int]]:
    """Return how many syncs changed nothing, by tier and reason, the most frequent first."""
    counts: dict[str, Counter[str]] = {}
    for sample in samples:
        tier = counts.setdefault(sample.tier, Counter())
        if sample.held:
            tier[sample.held] += 1
    return {name: dict(tier.most_common()) for name, tier in counts.items()}


def describe_stays(stays: Stays) -> list[str]:
    """Return the lines of a table of why the tiers kept their pods, and an empty one behind it."""
    rows = [
        f"{name:<10}  {count:>5}  {reason}"
        for name, reasons in stays.items()
        for reason, count in reasons.items()
    ]
    return [f"{'tier':<10}  syncs  without a change, because of", *rows, ""] if rows else []


def foresee(tier: Tier, *, with_external: bool = False) -> Iterator[str]:
    """Yield what keeps a tier from scaling whatever the load is, one sentence each.

    `with_external` tells that External metrics have values.
    """
    hpa, behavior = tier.hpa, tier.hpa.behavior
    lost = [
        reason
        for metric in hpa.metrics
        if not (with_external and metric.type == "External")
        and (reason := _why_without_value(tier, metric)) is not None
    ]
    yield from lost
    if lost:
        yield (
            "so its autoscaler never scales"
            if len(lost) == len(hpa.metrics)
            else "so nothing is removed (a missing metric might ask for more), and the other "
            "metrics may only add pods"
        )
    if hpa.min_replicas == hpa.max_replicas:
        yield f"minReplicas and maxReplicas are both {hpa.max_replicas}: the number never changes"
    if hpa.min_replicas == 0 and not with_external:
        yield "minReplicas is 0: it starts with one pod, since an autoscaler never leaves 0 by CPU"
    if behavior is not None and behavior.up.select == "Disabled":
        yield "scaleUp is disabled: no pod is ever added"
    if behavior is not None and behavior.down.select == "Disabled":
        yield "scaleDown is disabled: no pod is ever removed"


def _why_without_value(tier: Tier, metric: Metric) -> str | None:
    """Return why a metric has no value; None if it has one."""
    if metric.type not in ("Resource", "ContainerResource"):
        return (
            f"the {metric.type} metric {metric.name} comes from a metrics adapter, which is not "
            "here"
        )
    if metric.name != "cpu":
        return f"the {metric.type} metric {metric.name} is not measured here, only cpu is"
    if tier.containers and metric.container not in ("", *tier.containers):
        return (
            f"the pods have no container {metric.container} (they have "
            f"{', '.join(tier.containers)}): FailedGetContainerResourceMetric in a cluster"
        )
    if metric.container not in ("", tier.container):
        return (
            f"the usage of the container {metric.container} is not measured here, only that of "
            f"{tier.container}"
        )
    return _why_not_divided(tier, metric)


def _why_not_divided(tier: Tier, metric: Metric) -> str | None:
    if metric.utilization is None:
        return None
    request = tier.pod_requests.get(metric.key)
    if request is None:
        without = [metric.container] if metric.container else tier.unrequested
        return (
            f"{' and '.join(without)} has no CPU request, and the target is a percentage of it: "
            f"FailedGet{metric.type}Metric in a cluster"
        )
    if request == 0:
        return (
            f"the CPU request of {metric.container or 'the pod'} is 0, and the target is a "
            f"percentage of it: FailedGet{metric.type}Metric in a cluster"
        )
    return None
