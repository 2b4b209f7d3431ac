"""Read a HorizontalPodAutoscaler of a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from elastic_yolo.lab.autoscaler.spec import (
    SCALE_DOWN,
    SCALE_UP,
    Behavior,
    HpaSpec,
    Metric,
    MetricType,
    Policy,
    PolicyType,
    ScalingRules,
    SelectPolicy,
)
from elastic_yolo.lab.errors import ManifestError
from elastic_yolo.quantity import parse_milli

Milli = Annotated[int, BeforeValidator(parse_milli)]


class Read(BaseModel):
    """A part of a manifest; other fields are ignored."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel)


class Name(Read):
    """The name of something."""

    name: str


class _Policy(Read):
    type: PolicyType
    value: int = Field(gt=0)
    period_seconds: int = Field(gt=0, le=1800)


class _Rules(Read):
    stabilization_window_seconds: int | None = Field(None, ge=0, le=3600)
    select_policy: SelectPolicy = "Max"
    policies: list[_Policy] | None = None
    tolerance: Annotated[Milli | None, Field(ge=0)] = None

    def rules(self, default: ScalingRules) -> ScalingRules:
        window = self.stabilization_window_seconds
        policies = tuple(
            Policy(one.type, one.value, one.period_seconds) for one in self.policies or ()
        )
        return ScalingRules(
            policies or default.policies,
            self.select_policy,
            default.window_s if window is None else window,
            None if self.tolerance is None else self.tolerance / 1000,
        )


class BehaviorBody(Read):
    """The limits of both directions."""

    scale_up: _Rules = _Rules()
    scale_down: _Rules = _Rules()

    def behavior(self) -> Behavior:
        """Return them with the API's defaults."""
        return Behavior(self.scale_up.rules(SCALE_UP), self.scale_down.rules(SCALE_DOWN))


class _Target(Read):
    type: Literal["Utilization", "AverageValue", "Value"]
    average_utilization: int | None = Field(None, gt=0)
    average_value: Annotated[Milli | None, Field(gt=0)] = None
    value: Annotated[Milli | None, Field(gt=0)] = None


class _Source(Read):
    name: str | None = None
    container: str = ""
    metric: Name | None = None
    target: _Target


class _Metric(Read):
    type: MetricType
    resource: _Source | None = None
    container_resource: _Source | None = None
    pods: _Source | None = None
    object: _Source | None = None
    external: _Source | None = None

    def metric(self) -> Metric:
        """Return the metric; raises ValueError if the field that its type names is missing."""
        field = self.type[0].lower() + self.type[1:]
        source: _Source | None = self.sources()[self.type]
        if source is None:
            raise ValueError(f"a metric of type {self.type} without {field}")
        name = source.name or (source.metric.name if source.metric else "")
        target = source.target
        if self.type in ("Resource", "ContainerResource") and (
            target.average_utilization is None
        ) == (target.average_value is None):
            raise ValueError(f"{name}: expected averageUtilization or averageValue")
        if self.type == "ContainerResource" and not source.container:
            raise ValueError(f"{name}: a ContainerResource without container")
        if self.type == "External" and (target.value is None) == (target.average_value is None):
            raise ValueError(f"{name}: expected value or averageValue")
        return Metric(
            name,
            self.type,
            target.average_utilization,
            target.average_value,
            target.value if self.type in ("External", "Object") else None,
            source.container if self.type == "ContainerResource" else "",
        )

    def sources(self) -> dict[MetricType, _Source | None]:
        return {
            "Resource": self.resource,
            "ContainerResource": self.container_resource,
            "Pods": self.pods,
            "Object": self.object,
            "External": self.external,
        }


class _Reference(Name):
    kind: str = ""
    api_version: str = ""


class _HpaBody(Read):
    scale_target_ref: _Reference
    min_replicas: int = Field(1, ge=0)
    max_replicas: int = Field(ge=1)
    metrics: list[_Metric] = []
    behavior: BehaviorBody | None = None


class _Hpa(Read):
    api_version: Literal["autoscaling/v2"]
    metadata: Name
    spec: _HpaBody


def read_hpa(path: Path, found: dict[str, Any]) -> tuple[str, HpaSpec]:
    """Return the name of the scaled Deployment, and the autoscaler; raises ManifestError."""
    try:
        body = _Hpa.model_validate(found)
        spec = body.spec
        if spec.max_replicas < spec.min_replicas:
            raise ValueError("maxReplicas is less than minReplicas")  # noqa: TRY301
        _check_reference(spec.scale_target_ref)
        metrics = tuple(metric.metric() for metric in spec.metrics)
    except ValueError as error:
        raise ManifestError(f"{path}: HorizontalPodAutoscaler: {first_fault(error)}") from None
    hpa = HpaSpec(
        body.metadata.name,
        spec.max_replicas,
        metrics or (Metric(utilization=80),),
        spec.min_replicas,
        spec.behavior.behavior() if spec.behavior else None,
    )
    return spec.scale_target_ref.name, hpa


def _check_reference(reference: _Reference) -> None:
    """Raise ValueError if a cluster would not scale the target; elastic-yolo doctor says more."""
    group = reference.api_version.rpartition("/")[0]
    if (group, reference.kind) != ("apps", "Deployment"):
        raise ValueError(
            f"scaleTargetRef is {reference.kind or 'no kind'} of "
            f"{reference.api_version or 'no apiVersion'}: the lab scales a Deployment of apps/v1"
        )


def first_fault(error: ValueError) -> str:
    """Return what is wrong first, and where."""
    if not isinstance(error, ValidationError):
        return str(error)
    wrong = error.errors()[0]
    where = ".".join(str(part) for part in wrong["loc"])
    return f"{where}: {wrong['msg'].removeprefix('Value error, ')}"
