"""A set of manifests, and look-ups in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any

from elastic_yolo.doctor.api import SERVED, is_custom
from elastic_yolo.doctor.finding import Finding, Place, Severity
from elastic_yolo.doctor.manifests import Manifest
from elastic_yolo.doctor.selectors import selects
from elastic_yolo.doctor.values import dig, mapping, mappings, quantity, text, whole
from elastic_yolo.doctor.workload import TEMPLATES, Container, Workload

MIN_REPLICAS = {"HorizontalPodAutoscaler": "minReplicas", "ScaledObject": "minReplicaCount"}
MAX_REPLICAS = {"HorizontalPodAutoscaler": "maxReplicas", "ScaledObject": "maxReplicaCount"}
"""The field of each kind of autoscaler that limits the number of pods."""


# Of a LimitRange, the first that is stated. Source: kubernetes/kubernetes, pkg/apis/core/v1,
# SetDefaults_LimitRangeItem.
_DEFAULTS = ("defaultRequest", "default", "max", "min")


@dataclass(frozen=True, eq=False)
class ManifestSet:
    """Manifests, or the objects of a live cluster.

    `unread` has the resources for which the cluster denied access; `elsewhere` objects of other
    namespaces that rules look up and do not examine: pods, and some objects of kube-system.
    """

    manifests: Sequence[Manifest]
    live: bool = False
    unread: frozenset[str] = field(default_factory=frozenset)
    elsewhere: Sequence[Manifest] = ()

    def of_kind(self, *kinds: str) -> Iterator[Manifest]:
        """Yield the objects of some kinds, without custom resources of the same name."""
        return (one for one in self.manifests if one.kind in kinds and not _is_namesake(one))

    def named(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """Return an object by kind, namespace and name, or None."""
        return self._by_name.get((kind, namespace, name))

    def system(self, kind: str, name: str) -> Manifest | None:
        """Return an object of kube-system, or None."""
        for one in (*self.elsewhere, *self.manifests):
            if (one.kind, one.namespace, one.name) == (kind, "kube-system", name):
                return one
        return None

    @cached_property
    def all_pods(self) -> list[Manifest]:
        """The pods of a cluster in all namespaces, as far as they were read."""
        found = {
            (one.namespace, one.name): one
            for one in (*self.elsewhere, *self.manifests)
            if one.kind == "Pod"
        }
        return list(found.values())

    @property
    def containers(self) -> Iterator[Container]:
        """All containers, init containers included."""
        return (one for workload in self.workloads for one in workload.all_containers)

    @cached_property
    def workloads(self) -> list[Workload]:
        """The objects that create pods, without those whose owner is in this set."""
        return [
            Workload(one)
            for one in self.of_kind(*TEMPLATES)
            if not any(self.named(kind, one.namespace, name) for kind, name in one.owners)
        ]

    def selected_by(self, namespace: str, selector: object) -> list[Workload]:
        """Return the workloads of a namespace whose pod labels match a selector."""
        return [
            one
            for one in self.workloads
            if one.namespace == namespace and selects(selector, one.labels)
        ]

    def container_request(self, container: Container, resource: str) -> Fraction | None:
        """Return a container's request, or what a LimitRange of the namespace sets for it."""
        stated = container.resource_request(resource)
        if stated is not None:
            return stated
        for one in self.of_kind("LimitRange"):
            if one.namespace == container.manifest.namespace:
                for _, entry in mappings(one.spec, "limits"):
                    found = (quantity(dig(entry, key, resource)) for key in _DEFAULTS)
                    default = next((value for value in found if value is not None), None)
                    if text(entry, "type") == "Container" and default is not None:
                        return default
        return None

    def divisor(self, workload: Workload, resource: str) -> Fraction | None:
        """Return the request of a pod by which an HPA divides its usage; None if there is none.

        Source: kubernetes/kubernetes, pkg/controller/podautoscaler/replica_calculator.go
        (calculateRequests): what is stated for the pod, else the sum of the containers, which all
        need one. With some resource stated for the pod, the containers without a request count as
        0 (PodRequests of k8s.io/component-helpers), and a limit is the default.
        """
        every = [self.container_request(one, resource) for one in workload.containers]
        known = [one for one in every if one is not None]
        if not workload.has_pod_resources:
            return sum(known, Fraction()) if known and len(known) == len(every) else None
        stated = workload.pod_resource("requests", resource)
        if stated is not None:
            return stated
        return sum(known, Fraction()) if known else workload.pod_resource("limits", resource)

    def may_be_made_for(self, namespace: str, names: set[str]) -> bool:
        """Return whether a custom resource has one of these names.

        Its operator then makes objects that are in no manifest: pods whose labels have its name,
        as those of a Prometheus or a Kafka, and a Service of its name, as Knative does.
        """
        return any(
            is_custom(one.group) and one.namespace == namespace and one.name in names
            for one in self.manifests
            if one.kind not in MIN_REPLICAS
        )

    def has_workloads(self, namespace: str) -> bool:
        """Return whether the set has a workload in a namespace.

        If it has none, a missing object is probably in a file that was not passed.
        """
        return self.live or any(one.namespace == namespace for one in self.workloads)

    def missing(self, namespace: str, place: Place, what: str, why: str, fix: str) -> Finding:
        """Return the finding of a missing object: an error if its namespace has workloads."""
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
        """Return the minimum of pods of a workload while no pod fails."""
        floors = [whole(one.spec, MIN_REPLICAS[one.kind]) for one in self.scalers_of(workload)]
        if floors:
            return max(1 if floor is None else floor for floor in floors)
        stated = whole(workload.manifest.spec, "replicas")
        return 1 if stated is None else stated

    def max_replicas(self, workload: Workload) -> int:
        """Return the maximum of pods of a workload."""
        ceilings = [whole(one.spec, MAX_REPLICAS[one.kind]) for one in self.scalers_of(workload)]
        return max([self.min_replicas(workload), *(one for one in ceilings if one is not None)])

    @cached_property
    def _by_name(self) -> dict[tuple[str, str, str], Manifest]:
        return {
            (one.kind, one.namespace, one.name): one
            for one in self.manifests
            if not _is_namesake(one)
        }


def _is_namesake(one: Manifest) -> bool:
    """Return whether a custom resource only shares the name of a kind, as Knative's Service.

    One that makes pods from a template, as OpenKruise's StatefulSet, counts as the kind.
    """
    if one.kind not in SERVED or not is_custom(one.group):
        return False
    template = TEMPLATES.get(one.kind)
    return not template or not mapping(one.body, *template)


def scale_target(scaler: Manifest) -> tuple[str, str]:
    """Return kind and name of the target of an HPA or a ScaledObject; "" if not set."""
    target = mapping(scaler.spec, "scaleTargetRef")
    # The default of KEDA; an HPA has none.
    default = "Deployment" if scaler.kind == "ScaledObject" else ""
    kind, name = target.get("kind") or default, target.get("name")
    return (kind, name) if isinstance(kind, str) and isinstance(name, str) else ("", "")
