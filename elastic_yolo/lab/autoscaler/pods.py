"""Groups of pods by how their metrics count.

Source: kubernetes/kubernetes, pkg/controller/podautoscaler/replica_calculator.go (groupPods).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from elastic_yolo.lab.autoscaler.spec import Controller


@dataclass(frozen=True)
class Pod:
    """A pod as the controller sees it; times are seconds of the controller's clock."""

    name: str
    requests: Mapping[str, int] = field(default_factory=dict)
    """Thousandths by the key of a metric: `cpu`, or `cpu/inference` for one container."""
    phase: Literal["Pending", "Running", "Succeeded", "Failed"] = "Running"
    deleting: bool = False
    started_at: float | None = 0.0
    ready: bool | None = True
    """None if it has not been probed yet."""
    ready_changed_at: float = 0.0
    """When `ready` last changed."""


@dataclass(frozen=True)
class Usage:
    """The usage of one pod, as metrics-server reports it."""

    milli: int
    """Mean over the window, in thousandths."""
    at: float
    """End of the window."""
    window_s: float


Usages = Mapping[str, Usage]
"""By the name of the pod."""


@dataclass(frozen=True)
class Groups:
    """Names of pods. A pod in none of the groups is being deleted, has failed or has ended."""

    ready: tuple[str, ...]
    unready: tuple[str, ...]
    missing: tuple[str, ...]


def group_pods(
    pods: Iterable[Pod], usages: Usages, resource: str, controller: Controller, now: float
) -> Groups:
    """Return the pods by whether their metrics count."""
    ready, unready, missing = [], [], []
    for pod in pods:
        if pod.deleting or pod.phase in ("Succeeded", "Failed"):
            continue
        if pod.phase == "Pending":
            unready.append(pod.name)
        elif pod.name not in usages:
            missing.append(pod.name)
        elif resource == "cpu" and _is_starting(pod, usages[pod.name], controller, now):
            unready.append(pod.name)
        else:
            ready.append(pod.name)
    return Groups(tuple(ready), tuple(unready), tuple(missing))


def _is_starting(pod: Pod, usage: Usage, controller: Controller, now: float) -> bool:
    """Return whether a pod's CPU usage is that of its start rather than of its work."""
    if pod.ready is None or pod.started_at is None:
        return True
    if pod.started_at + controller.cpu_initialization_period_s > now:
        # A window that began before the pod was ready includes part of its start.
        return not pod.ready or usage.at < pod.ready_changed_at + usage.window_s
    # Not ready, and the last change was so early that the pod was never ready.
    never = pod.started_at + controller.initial_readiness_delay_s > pod.ready_changed_at
    return not pod.ready and never
