"""Reads autoscalers and the Deployments that they scale from Kubernetes manifests."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from elastic_yolo.lab.autoscaler.hpa_manifest import Milli, Name, Read, first_fault, read_hpa
from elastic_yolo.lab.autoscaler.keda import KedaSpec, read_scaled_object
from elastic_yolo.lab.autoscaler.spec import HpaSpec
from elastic_yolo.lab.errors import ManifestError

MANIFESTS = Path(__file__).resolve().parents[1] / "manifests"
"""The manifests of k8s/base: package data, in the repository a link to that folder."""

Located = tuple[Path, dict[str, Any]]
"""An object and the file that has it."""


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
    container: str = ""
    """The container that runs the service; the others are taken to use nothing."""
    requests: Mapping[str, int] = field(default_factory=dict)
    """The CPU requests by the key of a metric, as far as they are stated."""
    unrequested: tuple[str, ...] = ()
    """The containers without a CPU request, where those of all are needed."""
    containers: tuple[str, ...] = ()
    """All containers; empty if they are not known."""
    keda: KedaSpec | None = None
    """What KEDA does itself, if the autoscaler is that of a ScaledObject."""

    @property
    def pod_requests(self) -> Mapping[str, int]:
        """The requests that the autoscaler finds in each pod."""
        return self.requests or {"cpu": self.request_milli}


def read_tiers(place: Path) -> dict[str, Tier]:
    """Return the tiers of a file, or of all .yaml, .yml and .json files of a folder, by name.

    ScaledObjects without Deployments are a component: they replace the autoscalers of the project's
    own manifests. Raises ManifestError, whose message names the file.
    """
    objects = list(read_objects(place))
    scalers = _read_scalers(objects)
    if not scalers:
        raise ManifestError(f"{place}: no HorizontalPodAutoscaler found")
    deployments = find_deployments(objects)
    if not deployments and any(keda for _, _, keda in scalers.values()):
        own = list(read_objects(MANIFESTS))
        deployments, scalers = find_deployments(own), _read_scalers(own) | scalers
    tiers: dict[str, Tier] = {}
    for target, (path, hpa, keda) in scalers.items():
        if target not in deployments:
            raise ManifestError(
                f"{path}: {hpa.name} scales {target}, but no manifest has that Deployment"
            )
        tiers[target] = replace(read_tier(*deployments[target], hpa), keda=keda)
    return tiers


def _read_scalers(objects: Iterable[Located]) -> dict[str, tuple[Path, HpaSpec, KedaSpec | None]]:
    """Return the autoscalers by the name of what they scale; raises ManifestError."""
    scalers: dict[str, tuple[Path, HpaSpec, KedaSpec | None]] = {}
    for path, found in objects:
        kind, keda = found.get("kind"), None
        if kind == "HorizontalPodAutoscaler":
            target, hpa = read_hpa(path, found)
        elif kind == "ScaledObject":
            target, hpa, keda = read_scaled_object(path, found)
        else:
            continue
        if target in scalers:
            raise ManifestError(f"{path}: a second {kind} of {target}")
        scalers[target] = (path, hpa, keda)
    return scalers


def find_deployments(objects: Iterable[Located]) -> dict[str, Located]:
    """Return the Deployments by name."""
    return {_name(one): (path, one) for path, one in objects if one.get("kind") == "Deployment"}


def _name(found: dict[str, Any]) -> str:
    metadata = found.get("metadata")
    return str(metadata.get("name")) if isinstance(metadata, dict) else ""


class _Cpu(Read):
    cpu: Milli | None = None


class _Resources(Read):
    requests: _Cpu = _Cpu()
    limits: _Cpu = _Cpu()


class _Probe(Read):
    period_seconds: float = Field(10, gt=0)
    failure_threshold: int = Field(3, ge=1)


class _Container(Read):
    name: str
    restart_policy: str = ""
    resources: _Resources = _Resources()
    readiness_probe: _Probe = _Probe()
    startup_probe: _Probe | None = None


class _PodSpec(Read):
    containers: list[_Container] = Field(min_length=1)
    init_containers: list[_Container] = Field([])
    resources: _Resources = _Resources()

    def lasting(self) -> list[_Container]:
        """Return the containers and the sidecars among the init containers."""
        sidecars = (one for one in self.init_containers if one.restart_policy == "Always")
        return [*self.containers, *sidecars]


class _Template(Read):
    spec: _PodSpec


class _DeploymentBody(Read):
    template: _Template


class _Deployment(Read):
    metadata: Name
    spec: _DeploymentBody


def read_objects(place: Path) -> Iterator[Located]:
    """Yield the objects of a file or folder; raises ManifestError."""
    if not place.exists():
        raise ManifestError(f"{place}: no such file or folder")
    kinds = ("*.yaml", "*.yml", "*.json")
    paths = (
        [place] if place.is_file() else sorted(found for one in kinds for found in place.glob(one))
    )
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8")
            is_json = path.suffix == ".json"
            documents = [json.loads(text)] if is_json else list(yaml.safe_load_all(text))
            objects = list(_items(documents))
        except RecursionError:
            raise ManifestError(f"{path}: nested too deeply") from None
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise ManifestError(f"{path}: {' '.join(str(error).split())}") from None
        yield from ((path, found) for found in objects)


def _items(documents: list[Any]) -> Iterator[dict[str, Any]]:
    """Yield the objects, also those in a List, which `kubectl get` prints."""
    for found in documents:
        if isinstance(found, dict):
            items = found.get("items")
            if found.get("kind") == "List" and isinstance(items, list):
                yield from _items(items)
            else:
                yield found


def read_tier(path: Path, found: dict[str, Any], hpa: HpaSpec) -> Tier:
    """Return a Deployment with its autoscaler; raises ManifestError."""
    try:
        deployment = _Deployment.model_validate(found)
    except ValueError as error:
        raise ManifestError(f"{path}: Deployment: {first_fault(error)}") from None
    name, pod = deployment.metadata.name, deployment.spec.template.spec
    containers = pod.lasting()
    requests = {one.name: _request(one.resources) for one in containers}
    total, unrequested = _total(pod, requests)
    if not total:
        stated = "a CPU request of 0" if total == 0 and not unrequested else "no CPU request"
        raise ManifestError(f"{path}: Deployment {name} has {stated}, which the autoscaler needs")
    own = next((one for one in containers if one.name == name), containers[0])
    by_key = {f"cpu/{one}": request for one, request in requests.items() if request is not None}
    probe, startup = own.readiness_probe, own.startup_probe
    return Tier(
        name,
        hpa,
        total,
        _limit(pod),
        probe.period_seconds,
        probe.failure_threshold,
        startup.period_seconds * startup.failure_threshold if startup else math.inf,
        own.name,
        by_key if unrequested else {"cpu": total, **by_key},
        unrequested,
        tuple(requests),
    )


def _request(resources: _Resources) -> int | None:
    """Return the CPU request; without one, Kubernetes uses the limit."""
    stated = resources.requests.cpu
    return resources.limits.cpu if stated is None else stated


def _total(pod: _PodSpec, requests: Mapping[str, int | None]) -> tuple[int, tuple[str, ...]]:
    """Return the CPU request of a pod, and the containers that lack theirs.

    A request of the whole pod replaces those of its containers, of which then none is needed.
    Source: kubernetes/kubernetes, pkg/controller/podautoscaler/replica_calculator.go.
    """
    known = [one for one in requests.values() if one is not None]
    if pod.resources.requests.cpu is not None:
        return pod.resources.requests.cpu, ()
    if pod.resources.limits.cpu is not None:
        return (sum(known) if known else pod.resources.limits.cpu), ()
    return sum(known), tuple(name for name, one in requests.items() if one is None)


def _limit(pod: _PodSpec) -> int | None:
    """Return the CPUs that a pod may use, in thousandths; None for no limit."""
    limits = [one.resources.limits.cpu for one in pod.lasting()]
    together = None if None in limits else sum(one or 0 for one in limits)
    shared = pod.resources.limits.cpu
    stated = [one for one in (together, shared) if one is not None]
    return min(stated, default=None)
