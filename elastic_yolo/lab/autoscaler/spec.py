"""The specification of a HorizontalPodAutoscaler, and the flags of its controller.

Names and defaults are those of the API autoscaling/v2 and of kube-controller-manager. Quantities
are whole thousandths, in which the controller calculates: 1 CPU is 1000.
Source: kubernetes.io, "Horizontal Pod Autoscaling" and the API reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PolicyType = Literal["Pods", "Percent"]
SelectPolicy = Literal["Max", "Min", "Disabled"]
MetricType = Literal["Resource", "ContainerResource", "Pods", "Object", "External"]


@dataclass(frozen=True)
class Policy:
    """The largest change within a period, in pods or in per cent of them."""

    type: PolicyType
    value: int
    period_s: int


@dataclass(frozen=True)
class ScalingRules:
    """The limits of one direction."""

    policies: tuple[Policy, ...]
    select: SelectPolicy = "Max"
    window_s: int | None = None
    """Stabilization window; None is the controller's default, which only scaling down has."""
    tolerance: float | None = None
    """None is the controller's default."""


SCALE_UP = ScalingRules((Policy("Pods", 4, 15), Policy("Percent", 100, 15)), window_s=0)
SCALE_DOWN = ScalingRules((Policy("Percent", 100, 15),))


@dataclass(frozen=True)
class Behavior:
    """Both directions; what a manifest omits has the API's defaults."""

    up: ScalingRules = SCALE_UP
    down: ScalingRules = SCALE_DOWN


@dataclass(frozen=True)
class Metric:
    """One metric and its target; one of the three targets is set."""

    name: str = "cpu"
    type: MetricType = "Resource"
    utilization: int | None = None
    """Per cent of the pods' requests."""
    average_milli: int | None = None
    """Thousandths per pod."""
    value_milli: int | None = None
    """Thousandths of the whole metric, whatever the number of pods; of External and Object only."""
    container: str = ""
    """The container that counts, of a ContainerResource; all of them if empty."""

    @property
    def key(self) -> str:
        """What its requests and usages are found by, such as `cpu` or `cpu/inference`."""
        return f"{self.name}/{self.container}" if self.container else self.name


@dataclass(frozen=True)
class HpaSpec:
    """One HorizontalPodAutoscaler."""

    name: str
    max_replicas: int
    metrics: tuple[Metric, ...] = (Metric(utilization=80),)
    min_replicas: int = 1
    behavior: Behavior | None = None


@dataclass(frozen=True)
class Controller:
    """The flags of kube-controller-manager that start with --horizontal-pod-autoscaler-."""

    sync_period_s: float = 15.0
    tolerance: float = 0.1
    cpu_initialization_period_s: float = 300.0
    initial_readiness_delay_s: float = 30.0
    downscale_stabilization_s: float = 300.0
