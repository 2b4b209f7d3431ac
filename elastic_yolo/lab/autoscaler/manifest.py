"""Reads autoscalers and the Deployments that they scale from Kubernetes manifests."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
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

MANIFESTS = Path(__file__).resolve().parents[1] / "manifests"
"""The manifests of k8s/base: package data, in the repository a link to that folder."""


@dataclass(frozen=True)
class Tier:
    """A Deployment with its autoscaler. CPUs are in thousandths."""

    name: str
    hpa: HpaSpec
    request_milli: int
    limit_milli: int | None
    ready_period_s: float = 10.0
    """The period of the readiness probe."""
    ready_failures: int = 3
    """Consecutive failures of it that make a pod unready."""
    startup_s: float = math.inf
    """The time that the startup probe allows."""


def read_tiers(place: Path) -> dict[str, Tier]:
    """Return the tiers of a file, or of all .yaml and .yml files of a folder, by name.

    Raises ManifestError, whose message names the file.
    """
    objects = list(_objects(place))
    deployments = {
        _name(found): (path, found) for path, found in objects if found.get("kind") == "Deployment"
    }
    tiers: dict[str, Tier] = {}
    for path, found in objects:
        if found.get("kind") != "HorizontalPodAutoscaler":
            continue
        target, hpa = _read_hpa(path, found)
        if target in tiers:
            raise ManifestError(f"{path}: a second HorizontalPodAutoscaler of {target}")
        if target not in deployments:
            raise ManifestError(
                f"{path}: {hpa.name} scales {target}, but no manifest has that Deployment"
            )
        tiers[target] = _read_tier(*deployments[target], hpa)
    if not tiers:
        raise ManifestError(f"{place}: no HorizontalPodAutoscaler found")
    return tiers


def _name(found: dict[str, Any]) -> str:
    metadata = found.get("metadata")
    return str(metadata.get("name")) if isinstance(metadata, dict) else ""


Milli = Annotated[int, BeforeValidator(parse_milli)]


class _Read(BaseModel):
    """A part of a manifest; other fields are ignored."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel)


class _Name(_Read):
    name: str


class _Policy(_Read):
    type: PolicyType
    value: int = Field(gt=0)
    period_seconds: int = Field(gt=0, le=1800)


class _Rules(_Read):
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


class _Behavior(_Read):
    scale_up: _Rules = _Rules()
    scale_down: _Rules = _Rules()


class _Target(_Read):
    type: Literal["Utilization", "AverageValue", "Value"]
    average_utilization: int | None = Field(None, gt=0)
    average_value: Annotated[Milli | None, Field(gt=0)] = None


class _Source(_Read):
    name: str | None = None
    metric: _Name | None = None
    target: _Target


class _Metric(_Read):
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
        if self.type == "Resource" and (target.average_utilization is None) == (
            target.average_value is None
        ):
            raise ValueError(f"{name}: expected averageUtilization or averageValue")
        return Metric(name, self.type, target.average_utilization, target.average_value)

    def sources(self) -> dict[MetricType, _Source | None]:
        return {
            "Resource": self.resource,
            "ContainerResource": self.container_resource,
            "Pods": self.pods,
            "Object": self.object,
            "External": self.external,
        }


class _HpaBody(_Read):
    scale_target_ref: _Name
    min_replicas: int = Field(1, ge=0)
    max_replicas: int = Field(ge=1)
    metrics: list[_Metric] = []
    behavior: _Behavior | None = None


class _Hpa(_Read):
    api_version: Literal["autoscaling/v2"]
    metadata: _Name
    spec: _HpaBody


class _Cpu(_Read):
    cpu: Milli | None = None


class _Resources(_Read):
    requests: _Cpu = _Cpu()
    limits: _Cpu = _Cpu()


class _Probe(_Read):
    period_seconds: float = Field(10, gt=0)
    failure_threshold: int = Field(3, ge=1)


class _Container(_Read):
    name: str
    resources: _Resources = _Resources()
    readiness_probe: _Probe = _Probe()
    startup_probe: _Probe | None = None


class _PodSpec(_Read):
    containers: list[_Container] = Field(min_length=1)


class _Template(_Read):
    spec: _PodSpec


class _DeploymentBody(_Read):
    template: _Template


class _Deployment(_Read):
    metadata: _Name
    spec: _DeploymentBody


def _objects(place: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    if not place.exists():
        raise ManifestError(f"{place}: no such file or folder")
    paths = [place] if place.is_file() else sorted([*place.glob("*.yaml"), *place.glob("*.yml")])
    for path in paths:
        try:
            documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeError, yaml.YAMLError) as error:
            raise ManifestError(f"{path}: {' '.join(str(error).split())}") from None
        yield from ((path, found) for found in documents if isinstance(found, dict))


def _read_hpa(path: Path, found: dict[str, Any]) -> tuple[str, HpaSpec]:
    """Return the name of the scaled Deployment, and the autoscaler's specification."""
    try:
        body = _Hpa.model_validate(found)
        spec = body.spec
        if spec.max_replicas < spec.min_replicas:
            raise ValueError("maxReplicas is less than minReplicas")  # noqa: TRY301
        metrics = tuple(metric.metric() for metric in spec.metrics)
    except ValueError as error:
        raise ManifestError(f"{path}: HorizontalPodAutoscaler: {_first(error)}") from None
    behavior = None
    if spec.behavior is not None:
        up, down = spec.behavior.scale_up, spec.behavior.scale_down
        behavior = Behavior(up.rules(SCALE_UP), down.rules(SCALE_DOWN))
    hpa = HpaSpec(
        body.metadata.name,
        spec.max_replicas,
        metrics or (Metric(utilization=80),),
        spec.min_replicas,
        behavior,
    )
    return spec.scale_target_ref.name, hpa


def _read_tier(path: Path, found: dict[str, Any], hpa: HpaSpec) -> Tier:
    try:
        deployment = _Deployment.model_validate(found)
    except ValueError as error:
        raise ManifestError(f"{path}: Deployment: {_first(error)}") from None
    name, containers = deployment.metadata.name, deployment.spec.template.spec.containers
    requests, limits = [], []
    for container in containers:
        request = container.resources.requests.cpu
        limit = container.resources.limits.cpu
        # Without a request, Kubernetes uses the limit.
        requests.append(limit if request is None else request)
        limits.append(limit)
    if not all(requests):
        raise ManifestError(
            f"{path}: Deployment {name} has no CPU request, which the autoscaler needs"
        )
    probe, startup = containers[0].readiness_probe, containers[0].startup_probe
    return Tier(
        name,
        hpa,
        sum(request or 0 for request in requests),
        None if None in limits else sum(limit or 0 for limit in limits),
        probe.period_seconds,
        probe.failure_threshold,
        startup.period_seconds * startup.failure_threshold if startup else math.inf,
    )


def _first(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    wrong = error.errors()[0]
    where = ".".join(str(part) for part in wrong["loc"])
    return f"{where}: {wrong['msg'].removeprefix('Value error, ')}"
