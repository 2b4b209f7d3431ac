"""Everything that was given to look at, and how its parts are found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from elastic_yolo.doctor.finding import Finding, Place, Severity
from elastic_yolo.doctor.manifests import Manifest
from elastic_yolo.doctor.selectors import selects
from elastic_yolo.doctor.values import mapping, mappings, text, whole
from elastic_yolo.doctor.workload import TEMPLATES, Container, Workload

MIN_REPLICAS = {"HorizontalPodAutoscaler": "minReplicas", "ScaledObject": "minReplicaCount"}
MAX_REPLICAS = {"HorizontalPodAutoscaler": "maxReplicas", "ScaledObject": "maxReplicaCount"}
"""Where each kind of autoscaler states the fewest and the most pods."""


@dataclass(frozen=True, eq=False)
class ManifestSet:
    """Manifests, or the objects of a cluster. `unread` are the resources that it did not show."""

    manifests: Sequence[Manifest]
    live: bool = False
    unread: frozenset[str] = field(default_factory=frozenset)

    def of_kind(self, *kinds: str) -> Iterator[Manifest]:
        """Yield the objects of some kinds."""
        return (one for one in self.manifests if one.kind in kinds)

    def named(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """Return an object by its name."""
        return self._by_name.get((kind, namespace, name))

    @property
    def containers(self) -> Iterator[Container]:
        """All containers, initial ones included."""
        return (one for workload in self.workloads for one in workload.all_containers)

    @cached_property
    def workloads(self) -> list[Workload]:
        """What makes pods, without what was made by something that is here as well."""
        return [
            Workload(one)
            for one in self.of_kind(*TEMPLATES)
            if not any(self.named(kind, one.namespace, name) for kind, name in one.owners)
        ]

    def selected_by(self, namespace: str, selector: object) -> list[Workload]:
        """Return the workloads of a namespace whose pods a selector chooses."""
        return [
            one
            for one in self.workloads
            if one.namespace == namespace and selects(selector, one.labels)
        ]

    def has_workloads(self, namespace: str) -> bool:
        """Tell whether anything that makes pods was given for a namespace.

        Where nothing was, what is looked for is probably in a file that was not given.
        """
        return self.live or any(one.namespace == namespace for one in self.workloads)

    def missing(self, namespace: str, place: Place, what: str, why: str, fix: str) -> Finding:
        """Return the finding that something is missing, as heavy as that is certain."""
        severity: Severity = "error" if self.has_workloads(namespace) else "warning"
        return Finding(severity, place, what, why, fix)

    def environment(self, container: Container) -> dict[str, str]:
        """Return a container's environment variables as far as they are known: no Secrets."""
        namespace = container.manifest.namespace
        variables: dict[Any, Any] = {}
        for _, source in mappings(container.body, "envFrom"):
            prefix = text(source, "prefix")
            config = self.named("ConfigMap", namespace, text(source, "configMapRef", "name"))
            data = {} if config is None else mapping(config.body, "data")
            variables |= {f"{prefix}{key}": value for key, value in data.items()}
        for _, one in mappings(container.body, "env"):
            value: Any = one.get("value")
            reference = mapping(one, "valueFrom", "configMapKeyRef")
            if reference:
                config = self.named("ConfigMap", namespace, text(reference, "name"))
                value = config and config.get("data", text(reference, "key"))
            variables[text(one, "name")] = value
        return {key: value for key, value in variables.items() if isinstance(value, str)}

    def scalers_of(self, workload: Workload) -> Iterator[Manifest]:
        """Yield the HPAs and ScaledObjects of a workload."""
        for one in self.of_kind("HorizontalPodAutoscaler", "ScaledObject"):
            if one.namespace == workload.namespace and scale_target(one) == (
                workload.manifest.kind,
                workload.manifest.name,
            ):
                yield one

    def min_replicas(self, workload: Workload) -> int:
        """Return how many pods a workload has at least, while all is well."""
        floors = [whole(one.spec, MIN_REPLICAS[one.kind]) for one in self.scalers_of(workload)]
        if floors:
            return max(1 if floor is None else floor for floor in floors)
        stated = whole(workload.manifest.spec, "replicas")
        return 1 if stated is None else stated

    def max_replicas(self, workload: Workload) -> int:
        """Return how many pods a workload may get."""
        ceilings = [whole(one.spec, MAX_REPLICAS[one.kind]) for one in self.scalers_of(workload)]
        return max([self.min_replicas(workload), *(one for one in ceilings if one is not None)])

    @cached_property
    def _by_name(self) -> dict[tuple[str, str, str], Manifest]:
        return {(one.kind, one.namespace, one.name): one for one in self.manifests}


def scale_target(scaler: Manifest) -> tuple[str, str]:
    """Return kind and name of what an HPA or a ScaledObject scales."""
    target = mapping(scaler.spec, "scaleTargetRef")
    # KEDA's default; an HPA has to state it.
    default = "Deployment" if scaler.kind == "ScaledObject" else ""
    kind, name = target.get("kind") or default, target.get("name")
    return (kind, name) if isinstance(kind, str) and isinstance(name, str) else ("", "")
