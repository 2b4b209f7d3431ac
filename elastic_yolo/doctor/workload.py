"""Objects that create pods, of any kind: their pod template and its containers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

from elastic_yolo.doctor.finding import Place
from elastic_yolo.doctor.manifests import Manifest
from elastic_yolo.doctor.values import (
    Path,
    dig,
    mapping,
    mappings,
    quantity,
    strings,
    text,
    whole,
)

TEMPLATES: dict[str, Path] = {
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "ReplicationController": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    "Pod": (),
    # Custom resources: Argo Rollouts, OpenKruise, OpenShift.
    "Rollout": ("spec", "template"),
    "CloneSet": ("spec", "template"),
    "DeploymentConfig": ("spec", "template"),
}
"""The path of the pod template in each kind."""

JOBS = ("Job", "CronJob")

# Other resources of a container have no counterpart for the whole pod.
_OF_PODS = ("cpu", "memory")
_HUGE_PAGES = "hugepages-"
_HOOKS = ("helm.sh/hook", "argocd.argoproj.io/hook")
_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


@dataclass(frozen=True, eq=False)
class Container:
    """A container of a pod template; `initial` for init containers that end before the others."""

    manifest: Manifest
    body: dict[Any, Any]
    path: Path
    initial: bool

    @property
    def name(self) -> str:
        """Its name."""
        return text(self.body, "name")

    @property
    def image(self) -> str:
        """The name of its image, as written."""
        return text(self.body, "image")

    @property
    def port_names(self) -> set[str]:
        """The names of its declared ports."""
        return {text(port, "name") for _, port in mappings(self.body, "ports")} - {""}

    @property
    def port_numbers(self) -> set[int]:
        """The numbers of its declared ports."""
        found = (whole(port, "containerPort") for _, port in mappings(self.body, "ports"))
        return {number for number in found if number is not None}

    def named_port(self, name: str) -> int | None:
        """Return the number of a declared port, or None."""
        for _, port in mappings(self.body, "ports"):
            if text(port, "name") == name:
                return whole(port, "containerPort")
        return None

    def at(self, *path: str | int) -> Place:
        """Return the place of a part."""
        return self.manifest.at(*self.path, *path)

    def resource_limit(self, resource: str) -> Fraction | None:
        """Return its limit for a resource, or None."""
        return quantity(dig(self.body, "resources", "limits", resource))

    def resource_request(self, resource: str) -> Fraction | None:
        """Return its request for a resource; it defaults to the limit."""
        stated = quantity(dig(self.body, "resources", "requests", resource))
        return self.resource_limit(resource) if stated is None else stated

    def probes(self) -> Iterator[tuple[str, dict[Any, Any]]]:
        """Yield name and body of its probes."""
        for name in _PROBES:
            if probe := mapping(self.body, name):
                yield name, probe


@dataclass(frozen=True, eq=False)
class Workload:
    """An object that creates pods."""

    manifest: Manifest

    @property
    def path(self) -> Path:
        """The path of its pod template."""
        return TEMPLATES[self.manifest.kind]

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return self.manifest.namespace

    @property
    def name(self) -> str:
        """Its kind and name, such as Deployment/web."""
        return f"{self.manifest.kind}/{self.manifest.name}"

    @cached_property
    def labels(self) -> dict[Any, Any]:
        """The labels of its pods."""
        return mapping(self.manifest.body, *self.path, "metadata", "labels")

    @cached_property
    def pod(self) -> dict[Any, Any]:
        """The spec of its pods."""
        return mapping(self.manifest.body, *self.path, "spec")

    @property
    def selector(self) -> dict[Any, Any] | None:
        """The selector by which it finds its pods; None if it is not by labels that it states."""
        kind, stated = self.manifest.kind, mapping(self.manifest.spec, "selector")
        by_hand = kind not in JOBS or self.manifest.spec.get("manualSelector") is True
        return stated if any(stated.values()) and by_hand and self.labels else None

    @property
    def is_hook(self) -> bool:
        """Whether Helm or Argo CD runs it for a moment, as a test or a migration."""
        return any(name in self.manifest.annotations for name in _HOOKS)

    @property
    def is_job(self) -> bool:
        """Whether its pods end on their own."""
        return self.manifest.kind in JOBS

    @cached_property
    def containers(self) -> list[Container]:
        """The containers that run as long as the pod, sidecars included."""
        return [one for one in self.all_containers if not one.initial]

    @cached_property
    def port_numbers(self) -> set[int]:
        """The numbers of its containers' declared ports."""
        return {number for one in self.containers for number in one.port_numbers}

    @cached_property
    def all_containers(self) -> list[Container]:
        """All containers, init containers first."""
        return [
            Container(
                self.manifest,
                body,
                (*self.path, "spec", group, place),
                # An init container that restarts is a sidecar.
                initial=group == "initContainers" and body.get("restartPolicy") != "Always",
            )
            for group in ("initContainers", "containers")
            for place, body in mappings(self.pod, group)
        ]

    def at(self, *path: str | int) -> Place:
        """Return the place of a part of the pod's spec."""
        return self.manifest.at(*self.path, "spec", *path)

    @cached_property
    def has_pod_resources(self) -> bool:
        """Whether it states resources of the whole pod, which Kubernetes 1.34 and newer know."""
        return any(
            is_pod_resource(name)
            for group in ("requests", "limits")
            for name in mapping(self.pod, "resources", group)
        )

    def pod_resource(self, group: Literal["requests", "limits"], resource: str) -> Fraction | None:
        """Return the request or limit that is stated for the whole pod, or None."""
        return quantity(dig(self.pod, "resources", group, resource))

    def resource_request(self, resource: str) -> Fraction:
        """Return a pod's request: its own, or that of its containers.

        Of the containers it is the sum, or the largest init container's. Without any, the pod's
        request defaults to its limit.
        """
        stated = self.pod_resource("requests", resource)
        if stated is not None:
            return stated
        every = [one.resource_request(resource) for one in self.all_containers]
        if not any(one is not None for one in every):
            return self.pod_resource("limits", resource) or Fraction(0)
        together = sum(
            (one.resource_request(resource) or Fraction(0) for one in self.containers), Fraction()
        )
        return max([together, *(one or Fraction(0) for one in every)])


def options_of(container: Container) -> dict[str, str]:
    """Return the options of a container's command, written as --name=value or --name value."""
    words = [*strings(container.body, "command"), *strings(container.body, "args")]
    found = {}
    for word, following in pairwise([*words, ""]):
        name, equals, value = word.partition("=")
        if name.startswith("--"):
            found[name] = value if equals else following
    return found


def is_pod_resource(name: object) -> bool:
    """Return whether a resource can be stated for a whole pod.

    Source: Kubernetes, "Assign Pod-level CPU and memory resources".
    """
    return name in _OF_PODS or (isinstance(name, str) and name.startswith(_HUGE_PAGES))
