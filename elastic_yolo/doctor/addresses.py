"""URLs in environment variables whose host is a Service of the cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from elastic_yolo.doctor.manifest_set import ManifestSet
from elastic_yolo.doctor.workload import Container, Workload

_URL = re.compile(
    r"[a-z][a-z0-9+.-]{0,20}://(?:[^/@\s]*@)?(?P<host>[a-z0-9]([a-z0-9.-]*[a-z0-9])?)"
    r"(?::(?P<port>\d{1,5}))?(?:[/?#].*)?"
)
_PORTS = {"http": 80, "https": 443}
_LOCAL = ("localhost",)


@dataclass(frozen=True)
class Address:
    """A URL of a Service in a container's environment; `port` is None for a scheme without one."""

    container: Container
    variable: str
    value: str
    namespace: str
    service: str
    port: int | None


def addresses(manifests: ManifestSet, workload: Workload) -> Iterator[Address]:
    """Yield the URLs of Services in the environment of a workload's containers."""
    for container in workload.containers:
        for variable, value in manifests.environment(container).items():
            for part in value.split(","):
                found = _URL.fullmatch(part.strip())
                if found is None:
                    continue
                scheme = part.strip().partition(":")[0]
                port = int(found["port"]) if found["port"] else _PORTS.get(scheme)
                if where := _within(manifests, workload, found["host"]):
                    yield Address(container, variable, part.strip(), *where, port)


def _within(manifests: ManifestSet, workload: Workload, host: str) -> tuple[str, str] | None:
    """Return namespace and name of the Service that a host name stands for, or None."""
    name, *rest = host.split(".")
    if host in _LOCAL or (name.isdecimal() and all(part.isdecimal() for part in rest)):
        return None
    if not rest:
        return workload.namespace, name
    namespace = rest[0]
    # `api.example` may be a host of the internet: it counts if there is such a namespace.
    inside = rest[1:2] == ["svc"] or len(rest) == 1
    return (
        (namespace, name)
        if inside and any(one.namespace == namespace for one in manifests.workloads)
        else None
    )
