"""Ports by name or number, as Services and NetworkPolicies mean them."""

from __future__ import annotations

from elastic_yolo.doctor.values import mappings, text
from elastic_yolo.doctor.workload import Workload

Target = int | str


def has_target(workload: Workload, target: Target) -> bool:
    """Tell whether a port leads somewhere; a number does where no ports are declared at all.

    Declaring ports is not asked for by Kubernetes, so a pod without any may listen anywhere.
    """
    if isinstance(target, str):
        return any(target in one.port_names for one in workload.containers)
    return not workload.port_numbers or target in workload.port_numbers


def number_of(workload: Workload, target: Target) -> int | None:
    """Return the number that a name or a number means in a pod."""
    if isinstance(target, int):
        return target
    found = (one.named_port(target) for one in workload.containers)
    return next((number for number in found if number is not None), None)


def show_ports(workload: Workload) -> str:
    """Return the ports of a pod for a sentence that begins with "there"."""
    ports = [
        f"{port.get('containerPort')}" + (f" ({text(port, 'name')})" if text(port, "name") else "")
        for one in workload.containers
        for _, port in mappings(one.body, "ports")
    ]
    if not ports:
        return "are none"
    return f"{'are' if len(ports) > 1 else 'is'} {', '.join(ports)}"
