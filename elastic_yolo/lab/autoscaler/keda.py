"""KEDA's ScaledObjects: the HorizontalPodAutoscaler that KEDA makes, and what it does itself.

KEDA asks the triggers for their values. It hands these to an HPA as External metrics, and itself
scales between 0 replicas and the first ones, which that HPA never does.
Source: kedacore/keda, pkg/scaling/executor/scale_scaledobjects.go (RequestScale),
apis/keda/v1alpha1/scaledobject_types.go, pkg/scalers/redis_streams_scaler.go, kafka_scaler.go and
metrics_api_scaler.go.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import Field

from elastic_yolo.lab.autoscaler.hpa import Decision
from elastic_yolo.lab.autoscaler.hpa_manifest import BehaviorBody, Name, Read, first_fault
from elastic_yolo.lab.autoscaler.series import Series, parse_series
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
    reads: Reads | None = None
    """What a trigger of type metrics-api reads; None for others."""


@dataclass(frozen=True)
class Reads:
    """The value of a trigger: the sum of a metric over the pods of a Service."""

    service: str
    series: Series


@dataclass(frozen=True)
class Activation:
    """A change that KEDA makes itself, and why."""

    replicas: int
    why: str

    def decision(self, current: int) -> Decision:
        """Return it in the form of an autoscaler's decision."""
        return Decision(
            current, self.replicas, f"{current} -> {self.replicas}: {self.why}", None, ()
        )


@dataclass
class Activator:
    """KEDA's own scaling of one ScaledObject."""

    spec: KedaSpec
    _active_at: float | None = None

    def decide(self, now: float, current: int, value: int) -> Activation | None:
        """Return the change for the trigger's value, or None; call it every `polling_s` seconds."""
        spec = self.spec
        if value > spec.activation:
            self._active_at = now
            if current == 0 or (spec.idle is not None and current < spec.least):
                what = "in flight" if spec.reads else "waiting"
                words = f"KEDA activates it: {value} {what} > {spec.activation}"
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
        known = _KINDS.get(self.type)
        if known is None or (self.type == "redis-streams" and known.target not in self.metadata):
            raise ValueError(
                f"trigger {number}: the lab knows redis-streams with lagCount, kafka and "
                "metrics-api"
            )
        target = self._milli(known.target, known.default_milli)
        if target <= 0:
            raise ValueError(f"trigger {number}: the target is not above 0")
        average = self.metric_type == "AverageValue"
        name = f"{known.prefix}-{self.metadata.get(known.named_by, '')}"
        return Metric(
            f"s{number}-{re.sub('[/.:%()]', '-', name)}",
            "External",
            average_milli=target if average else None,
            value_milli=None if average else target,
        )

    def activation(self) -> int:
        return self._milli(_KINDS[self.type].activation, 0) // 1000

    def reads(self) -> Reads | None:
        """Return what a trigger of type metrics-api reads; raises ValueError."""
        if self.type != "metrics-api":
            return None
        stated = self.metadata
        wanted = {
            "format": "prometheus",
            "aggregateFromKubeServiceEndpoints": "true",
            "aggregationType": "sum",
        }
        for field, value in wanted.items():
            if stated.get(field) != value:
                raise ValueError(f"metrics-api: expected {field}: {value}")
        # KEDA takes the name of the Service and its namespace from the first two parts of the host.
        host = urlsplit(stated.get("url", "")).hostname or ""
        if host.count(".") < 2:
            raise ValueError(f"metrics-api: the host {host!r} is not SERVICE.NAMESPACE.svc")
        return Reads(host.partition(".")[0], parse_series(stated.get("valueLocation", "")))

    def _milli(self, field: str, default: int) -> int:
        stated = self.metadata.get(field)
        if stated is None:
            return default
        try:
            value = float(stated) if self.type == "metrics-api" else int(stated)
        except ValueError:
            number = "number" if self.type == "metrics-api" else "whole number"
            raise ValueError(f"{field}: {stated!r} is not a {number}") from None
        return round(1000 * value)


class _Kind(NamedTuple):
    """The fields of a type of trigger."""

    target: str
    activation: str
    prefix: str
    named_by: str
    default_milli: int


_KINDS = {
    "redis-streams": _Kind("lagCount", "activationLagCount", "redis-streams", "stream", 10_000),
    "kafka": _Kind("lagThreshold", "activationLagThreshold", "kafka", "topic", 10_000),
    "metrics-api": _Kind("targetValue", "activationTargetValue", "metric-api", "valueLocation", 0),
}


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
        reads = spec.triggers[0].reads()
        if len(spec.triggers) > 1 and any(one.type == "metrics-api" for one in spec.triggers):
            raise ValueError("the lab knows metrics-api as the only trigger")  # noqa: TRY301
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
        reads,
    )
    return spec.scale_target_ref.name, hpa, keda
