"""KEDA's ScaledObjects: the HorizontalPodAutoscaler that KEDA makes, and what it does itself.

KEDA asks the triggers for their values. It hands these to an HPA as External metrics, and itself
scales between 0 replicas and the first ones, which that HPA never does.
Source: kedacore/keda, pkg/scaling/executor/scale_scaledobjects.go (RequestScale),
apis/keda/v1alpha1/scaledobject_types.go, pkg/scalers/redis_streams_scaler.go and kafka_scaler.go.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from elastic_yolo.lab.autoscaler.hpa_manifest import BehaviorBody, Name, Read, first_fault
from elastic_yolo.lab.autoscaler.spec import HpaSpec, Metric
from elastic_yolo.lab.errors import ManifestError


@dataclass(frozen=True)
class KedaSpec:
    """What KEDA does beside the HPA."""

    least: int
    """minReplicaCount."""
    idle: int | None
    """idleReplicaCount: the replicas while no trigger is active, instead of `least`."""
    polling_s: int
    cooldown_s: int
    """From the last activity until replicas are lowered to `idle` or 0."""
    activation: int
    """A trigger is active while its value is above this, in messages; the lowest of all."""


@dataclass(frozen=True)
class Activation:
    """A change that KEDA makes itself, and why."""

    replicas: int
    why: str


@dataclass
class Activator:
    """KEDA's own scaling of one ScaledObject."""

    spec: KedaSpec
    _active_at: float | None = None

    def decide(self, now: float, current: int, lag: int) -> Activation | None:
        """Return the change for a lag in messages, or None; call it every `polling_s` seconds."""
        spec = self.spec
        if lag > spec.activation:
            self._active_at = now
            if current == 0 or (spec.idle is not None and current < spec.least):
                words = f"KEDA activates it: a lag of {lag} > {spec.activation}"
                return Activation(max(1, spec.least), words)
            return None
        lowest = spec.idle if spec.idle is not None else spec.least
        if current > lowest and (spec.idle is not None or spec.least == 0):
            if self._active_at is None:
                return Activation(lowest, "KEDA deactivates it: it never was active")
            if now > self._active_at + spec.cooldown_s:
                words = f"KEDA deactivates it: {spec.cooldown_s} s without activity"
                return Activation(lowest, words)
        if spec.idle is None and current < spec.least:
            return Activation(spec.least, "KEDA: below minReplicaCount")
        return None


class _Trigger(Read):
    type: str
    metadata: dict[str, str] = Field(default_factory=dict)
    metric_type: Literal["AverageValue", "Value"] = "AverageValue"

    def metric(self, number: int) -> Metric:
        """Return the External metric that KEDA makes of it; raises ValueError."""
        of_stream = self.type == "redis-streams" and "lagCount" in self.metadata
        if not (of_stream or self.type == "kafka"):
            raise ValueError(
                f"trigger {number}: the lab knows redis-streams with lagCount, and kafka"
            )
        name = f"{self.type}-{self.metadata.get('stream' if of_stream else 'topic', '')}"
        target = 1000 * self._count("lagCount" if of_stream else "lagThreshold", 10)
        if target <= 0:
            raise ValueError(f"trigger {number}: the target is not above 0")
        average = self.metric_type == "AverageValue"
        return Metric(
            f"s{number}-{re.sub('[/.:%()]', '-', name)}",
            "External",
            average_milli=target if average else None,
            value_milli=None if average else target,
        )

    def activation(self) -> int:
        return self._count(
            "activationLagCount" if self.type == "redis-streams" else "activationLagThreshold", 0
        )

    def _count(self, field: str, default: int) -> int:
        stated = self.metadata.get(field)
        try:
            return default if stated is None else int(stated)
        except ValueError:
            raise ValueError(f"{field}: {stated!r} is not a whole number") from None


class _Hpa(Read):
    name: str = ""
    behavior: BehaviorBody | None = None


class _Advanced(Read):
    horizontal_pod_autoscaler_config: _Hpa = _Hpa()


class _Target(Name):
    kind: Literal["Deployment"] = "Deployment"


class _Body(Read):
    scale_target_ref: _Target
    min_replica_count: int = Field(0, ge=0)
    max_replica_count: int = Field(100, ge=1)
    idle_replica_count: int | None = Field(None, ge=0)
    polling_interval: int = Field(30, ge=1)
    cooldown_period: int = Field(300, ge=0)
    advanced: _Advanced = _Advanced()
    triggers: list[_Trigger] = Field(min_length=1)


class _ScaledObject(Read):
    api_version: Literal["keda.sh/v1alpha1"]
    metadata: Name
    spec: _Body


def read_scaled_object(path: Path, found: dict[str, Any]) -> tuple[str, HpaSpec, KedaSpec]:
    """Return the name of the Deployment, KEDA's HPA for it, and what KEDA does itself.

    Raises ManifestError.
    """
    try:
        body = _ScaledObject.model_validate(found)
        spec = body.spec
        if spec.max_replica_count < spec.min_replica_count:
            raise ValueError("maxReplicaCount is less than minReplicaCount")  # noqa: TRY301
        idle = spec.idle_replica_count
        if idle is not None and idle >= spec.min_replica_count:
            raise ValueError("idleReplicaCount is not less than minReplicaCount")  # noqa: TRY301
        metrics = tuple(one.metric(number) for number, one in enumerate(spec.triggers))
        activation = min(one.activation() for one in spec.triggers)
    except ValueError as error:
        raise ManifestError(f"{path}: ScaledObject: {first_fault(error)}") from None
    config = spec.advanced.horizontal_pod_autoscaler_config
    hpa = HpaSpec(
        config.name or f"keda-hpa-{body.metadata.name}",
        spec.max_replica_count,
        metrics,
        max(1, spec.min_replica_count),
        config.behavior.behavior() if config.behavior else None,
    )
    keda = KedaSpec(
        spec.min_replica_count,
        idle,
        spec.polling_interval,
        spec.cooldown_period,
        activation,
    )
    return spec.scale_target_ref.name, hpa, keda
