"""Resolving ports of pods by name or number, as Services and NetworkPolicies do."""

from __future__ import annotations

from elastic_yolo.doctor.values import mappings, text
from elastic_yolo.doctor.workload import Workload

Target = int | str


def has_target(workload: Workload, target: Target) -> bool:
    """Return whether a workload's pods have a port.

    Kubernetes does not require that ports are declared: a pod that declares none may listen on
    any number.
    """
    if isinstance(target, str):
        return any(target in one.port_names for one in workload.containers)
    return not workload.port_numbers or target in workload.port_numbers


def number_of(workload: Workload, target: Target) -> int | None:
    """Return the number of a port that is given by name or number; None for an unknown name."""
    if isinstance(target, int):
        return target
    found = (one.named_port(target) for one in workload.containers)
    return next((number for number in found if number is not None), None)


def show_ports(workload: Workload) -> str:
    """Return the declared ports of a workload's pods as text, such as "8080 (http)"."""
    ports = [
        f"{port.get('containerPort')}" + (f" ({text(port, 'name')})" if text(port, "name") else "")
        for one in workload.containers
        for _, port in mappings(one.body, "ports")
    ]
    return ", ".join(ports) or "none"
