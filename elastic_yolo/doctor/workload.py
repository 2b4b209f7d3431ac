"""What makes pods, whatever its kind: a template, its containers, their environment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

from elastic_yolo.doctor.finding import Place
from elastic_yolo.doctor.manifests import Manifest
from elastic_yolo.doctor.values import Path, dig, mapping, mappings, quantity, text, whole

TEMPLATES: dict[str, Path] = {
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "ReplicationController": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    "Pod": (),
}
"""Where each kind has its pod template."""

_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


@dataclass(frozen=True, eq=False)
class Container:
    """A container of a pod template. `initial` ones have ended before the others start."""

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
        """Its image, as stated."""
        return text(self.body, "image")

    @property
    def port_names(self) -> set[str]:
        """Names of the ports that it declares."""
        return {text(port, "name") for _, port in mappings(self.body, "ports")} - {""}

    @property
    def port_numbers(self) -> set[int]:
        """Numbers of the ports that it declares."""
        found = (whole(port, "containerPort") for _, port in mappings(self.body, "ports"))
        return {number for number in found if number is not None}

    def named_port(self, name: str) -> int | None:
        """Return the number of a port."""
        for _, port in mappings(self.body, "ports"):
            if text(port, "name") == name:
                return whole(port, "containerPort")
        return None

    def at(self, *path: str | int) -> Place:
        """Return where a part of it stands."""
        return self.manifest.at(*self.path, *path)

    def resource_limit(self, resource: str) -> Fraction | None:
        """Return its limit of a resource, or None."""
        return quantity(dig(self.body, "resources", "limits", resource))

    def resource_request(self, resource: str) -> Fraction | None:
        """Return its request of a resource, which is the limit where only that is stated."""
        stated = quantity(dig(self.body, "resources", "requests", resource))
        return self.resource_limit(resource) if stated is None else stated

    def probes(self) -> Iterator[tuple[str, dict[Any, Any]]]:
        """Yield its probes with what they are called."""
        for name in _PROBES:
            if probe := mapping(self.body, name):
                yield name, probe


@dataclass(frozen=True, eq=False)
class Workload:
    """An object that makes pods."""

    manifest: Manifest

    @property
    def path(self) -> Path:
        """Where its template stands."""
        return TEMPLATES[self.manifest.kind]

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return self.manifest.namespace

    @cached_property
    def labels(self) -> dict[Any, Any]:
        """The labels of its pods."""
        return mapping(self.manifest.body, *self.path, "metadata", "labels")

    @cached_property
    def pod(self) -> dict[Any, Any]:
        """The spec of its pods."""
        return mapping(self.manifest.body, *self.path, "spec")

    @cached_property
    def containers(self) -> list[Container]:
        """The containers that run while the pod does, sidecars included."""
        return [one for one in self.all_containers if not one.initial]

    @cached_property
    def port_numbers(self) -> set[int]:
        """Numbers of the ports that its containers declare."""
        return {number for one in self.containers for number in one.port_numbers}

    @cached_property
    def all_containers(self) -> list[Container]:
        """All containers, initial ones first."""
        return [
            Container(
                self.manifest,
                body,
                (*self.path, "spec", group, place),
                # One that is restarted goes on beside the others.
                initial=group == "initContainers" and body.get("restartPolicy") != "Always",
            )
            for group in ("initContainers", "containers")
            for place, body in mappings(self.pod, group)
        ]

    def at(self, *path: str | int) -> Place:
        """Return where a part of the pod's spec stands."""
        return self.manifest.at(*self.path, "spec", *path)

    def resource_request(self, resource: str) -> Fraction:
        """Return what one pod requests of a resource: all that run at once, or an initial one."""
        together = sum(
            (one.resource_request(resource) or Fraction(0) for one in self.containers), Fraction()
        )
        initial = [one.resource_request(resource) or Fraction(0) for one in self.all_containers]
        return max([together, *initial])
