"""Rules for URLs of Services in the environment, and for NetworkPolicies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from elastic_yolo.doctor.addresses import Address, addresses
from elastic_yolo.doctor.finding import Finding, error, warning
from elastic_yolo.doctor.manifest_set import ManifestSet
from elastic_yolo.doctor.manifests import Manifest
from elastic_yolo.doctor.policies import blocking, governing, may_reach_dns
from elastic_yolo.doctor.ports import has_target, number_of, show_ports
from elastic_yolo.doctor.rule import Rule
from elastic_yolo.doctor.selectors import label_values, show
from elastic_yolo.doctor.values import Path, mapping, mappings, text, whole
from elastic_yolo.doctor.workload import Workload


def service_url_invalid(manifests: ManifestSet) -> Iterator[Finding]:
    """URL01: a URL in the environment has a Service or a port that does not exist."""
    for workload in manifests.workloads:
        for address in addresses(manifests, workload):
            service = manifests.named("Service", address.namespace, address.service)
            if service is None and not manifests.may_be_made_for(
                address.namespace, {address.service}
            ):
                yield warning(
                    address.container.at("env"),
                    f"{address.variable}={address.value}: Service/{address.service} does not "
                    "exist.",
                    "The name does not resolve, and every request to it fails.",
                    f"Correct the URL, or add the Service in namespace {address.namespace}.",
                )
            elif (
                service
                and address.port is not None
                and (there := _other_ports(manifests, service, address))
            ):
                yield error(
                    address.container.at("env"),
                    f"{address.variable}={address.value}: Service/{address.service} has no port "
                    f"{address.port}; it has {there}.",
                    "Connections to it time out or are refused.",
                    "Use the port of the Service in the URL.",
                )


def policy_selects_nothing(manifests: ManifestSet) -> Iterator[Finding]:
    """NET01: a policy selects no pod, or allows traffic with pods that do not exist."""
    for policy in manifests.of_kind("NetworkPolicy"):
        if not manifests.has_workloads(policy.namespace):
            continue
        selector = mapping(policy.spec, "podSelector")
        if _selects_none(manifests, policy, selector):
            yield warning(
                policy.at("spec", "podSelector"),
                f"The policy selects {show(selector)}, and no pod template has these labels.",
                "It has no effect: it neither allows nor restricts anything.",
                "Set the selector to labels of the pods.",
            )
        for path, peer in _peers(policy):
            wanted = mapping(peer, "podSelector")
            if "namespaceSelector" not in peer and _selects_none(manifests, policy, wanted):
                yield warning(
                    policy.at(*path),
                    f"The rule allows {show(wanted)}, and no pod template of namespace "
                    f"{policy.namespace} has these labels.",
                    "The rule allows no traffic.",
                    "Correct the labels; for pods of another namespace add a namespaceSelector "
                    "to the same entry.",
                )


def _selects_none(manifests: ManifestSet, policy: Manifest, selector: dict[Any, Any]) -> bool:
    return (
        bool(selector)
        and not manifests.selected_by(policy.namespace, selector)
        and not manifests.may_be_made_for(policy.namespace, label_values(selector))
    )


def policy_port_missing(manifests: ManifestSet) -> Iterator[Finding]:
    """NET02: a policy allows ingress to a port that its pods do not have."""
    for policy in manifests.of_kind("NetworkPolicy"):
        chosen = manifests.selected_by(policy.namespace, policy.spec.get("podSelector"))
        for rule, body in mappings(policy.spec, "ingress"):
            for place, port in mappings(body, "ports"):
                stated = port.get("port")
                known = [one for one in chosen if one.port_numbers]
                # A pod without declared ports may listen on any port.
                if not isinstance(stated, int | str) or len(known) < len(chosen) or not chosen:
                    continue
                if not any(_opens(port, one) for one in chosen):
                    first = chosen[0]
                    yield warning(
                        policy.at("spec", "ingress", rule, "ports", place, "port"),
                        f"The policy allows port {stated}, which none of its pods has; "
                        f"{first.manifest.kind}/{first.manifest.name} has {show_ports(first)}.",
                        "A policy applies to the container's port, not the Service's: the traffic "
                        "is refused.",
                        "Use the containerPort, by number or by name.",
                    )


def dns_not_allowed(manifests: ManifestSet) -> Iterator[Finding]:
    """NET03: egress policies allow some traffic, but not DNS."""
    for workload in manifests.workloads:
        policies = governing(manifests, workload, "Egress")
        rules = [(one, place) for one in policies for place, _ in mappings(one.spec, "egress")]
        # Pods without any egress need no DNS.
        if rules and not may_reach_dns(manifests, workload):
            policy, place = rules[0]
            yield error(
                policy.at("spec", "egress", place),
                f"The policies of {workload.name} allow egress, but not to DNS.",
                "No name resolves: every request fails with `Name or service not known`, or after "
                "a time-out.",
                "Allow UDP and TCP port 53 to the namespace kube-system for all pods.",
            )


def connection_blocked(manifests: ManifestSet) -> Iterator[Finding]:
    """NET04: a policy blocks the connection to a URL in the environment."""
    for workload in manifests.workloads:
        for address in addresses(manifests, workload):
            service = manifests.named("Service", address.namespace, address.service)
            for target, port in _pods_of(manifests, service, address):
                if side := blocking(manifests, workload, target, port):
                    subject = workload if side == "Egress" else target
                    named = f"{subject.manifest.kind}/{subject.manifest.name}"
                    policies = governing(manifests, subject, side)
                    does = "egress" if side == "Egress" else "ingress"
                    yield error(
                        policies[0].at("spec"),
                        f"{workload.name} connects to "
                        f"{address.value} ({address.variable}), and no policy of {named} allows "
                        f"{does} on port {port}.",
                        "Requests time out, without any error message.",
                        f"Add a rule to a policy with policyTypes [{side}] for the pods of "
                        f"{named}; both sides must allow the connection.",
                    )


def _peers(policy: Manifest) -> Iterator[tuple[Path, dict[object, object]]]:
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for rule, body in mappings(policy.spec, direction):
            for place, peer in mappings(body, peers):
                yield ("spec", direction, rule, peers, place), peer


def _opens(port: dict[object, object], workload: Workload) -> bool:
    stated = port.get("port")
    if isinstance(stated, str):
        return number_of(workload, stated) is not None
    first, last = whole(port, "port"), whole(port, "endPort")
    if first is None:
        return False
    last = first if last is None else last
    return any(first <= number <= last for number in workload.port_numbers)


def _is_headless(service: Manifest) -> bool:
    return text(service.spec, "clusterIP") == "None"


def _other_ports(manifests: ManifestSet, service: Manifest, address: Address) -> str:
    """Return the Service's ports if the URL's is none of them, else an empty string."""
    if text(service.spec, "type") == "ExternalName":
        return ""
    numbers: set[int | None] = {whole(port, "port") for _, port in mappings(service.spec, "ports")}
    if _is_headless(service):
        # DNS returns the pods' own addresses, so connections go to the pods' ports.
        pods = manifests.selected_by(service.namespace, service.spec.get("selector"))
        known: set[int | None] = {number for one in pods for number in one.port_numbers}
        numbers = known or numbers | {address.port}
    if address.port in numbers:
        return ""
    return ", ".join(str(number) for number in sorted(n for n in numbers if n)) or "no ports"


def _pods_of(
    manifests: ManifestSet, service: Manifest | None, address: Address
) -> Iterator[tuple[Workload, int]]:
    """Yield the workloads that a Service selects, each with the port of the pod."""
    if service is None or not mapping(service.spec, "selector"):
        return
    for workload in manifests.selected_by(service.namespace, service.spec.get("selector")):
        target: object = address.port
        if not _is_headless(service):
            for _, port in mappings(service.spec, "ports"):
                if port.get("port") == address.port:
                    target = port.get("targetPort", address.port)
        number = number_of(workload, target) if isinstance(target, int | str) else None
        # A port that no pod has is a finding of URL01.
        if number is not None and has_target(workload, number):
            yield workload, number


RULES = (
    Rule("URL01", service_url_invalid),
    Rule("NET01", policy_selects_nothing),
    Rule("NET02", policy_port_missing),
    Rule("NET03", dns_not_allowed),
    Rule("NET04", connection_blocked),
)
