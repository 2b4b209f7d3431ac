"""Whether pods may and can talk to each other: addresses, NetworkPolicies."""

from __future__ import annotations

from collections.abc import Iterator

from elastic_yolo.doctor.addresses import Address, addresses
from elastic_yolo.doctor.finding import Finding, error, warning
from elastic_yolo.doctor.manifest_set import ManifestSet
from elastic_yolo.doctor.manifests import Manifest
from elastic_yolo.doctor.policies import blocking, governing, may_ask_names
from elastic_yolo.doctor.ports import has_target, number_of, show_ports
from elastic_yolo.doctor.rule import Rule
from elastic_yolo.doctor.selectors import show
from elastic_yolo.doctor.values import Path, mapping, mappings, text, whole
from elastic_yolo.doctor.workload import Workload


def address_leads_nowhere(manifests: ManifestSet) -> Iterator[Finding]:
    """A URL in the environment that names a Service or a port that is not there."""
    for workload in manifests.workloads:
        for address in addresses(manifests, workload):
            service = manifests.named("Service", address.namespace, address.service)
            if service is None:
                yield warning(
                    address.container.at("env"),
                    f"{address.variable}={address.value} leads to Service/{address.service}, "
                    "which is not there.",
                    "The name does not resolve, and every request to it fails.",
                    f"Correct the address, or add the Service in namespace {address.namespace}.",
                )
            elif address.port is not None and (there := _other_ports(manifests, service, address)):
                yield error(
                    address.container.at("env"),
                    f"{address.variable}={address.value} asks port {address.port} of "
                    f"Service/{address.service}, which has {there}.",
                    "Connections to it time out or are refused.",
                    "Write the port of the Service into the address.",
                )


def policy_chooses_nothing(manifests: ManifestSet) -> Iterator[Finding]:
    """A policy for pods that are not there, or one that lets nobody in."""
    for policy in manifests.of_kind("NetworkPolicy"):
        if not manifests.has_workloads(policy.namespace):
            continue
        chosen = mapping(policy.spec, "podSelector")
        if chosen and not manifests.selected_by(policy.namespace, chosen):
            yield warning(
                policy.at("spec", "podSelector"),
                f"The policy is for {show(chosen)}, and no pod template has these labels.",
                "It does nothing: what it was to allow stays refused, or the other way round.",
                "Let the selector say what the pods' labels are.",
            )
        for path, peer in _peers(policy):
            wanted = mapping(peer, "podSelector")
            if (
                wanted
                and "namespaceSelector" not in peer
                and not manifests.selected_by(policy.namespace, wanted)
            ):
                yield warning(
                    policy.at(*path),
                    f"The rule lets {show(wanted)} through, and no pod template of namespace "
                    f"{policy.namespace} has these labels.",
                    "Nobody is let through by it.",
                    "Correct the labels; for pods of another namespace add a namespaceSelector "
                    "to the same entry.",
                )


def policy_port_missing(manifests: ManifestSet) -> Iterator[Finding]:
    """A policy that opens a port where nobody listens."""
    for policy in manifests.of_kind("NetworkPolicy"):
        chosen = manifests.selected_by(policy.namespace, policy.spec.get("podSelector"))
        for rule, body in mappings(policy.spec, "ingress"):
            for place, port in mappings(body, "ports"):
                stated = port.get("port")
                known = [one for one in chosen if one.port_numbers]
                # A pod without declared ports may listen anywhere.
                if not isinstance(stated, int | str) or len(known) < len(chosen) or not chosen:
                    continue
                if not any(_opens(port, one) for one in chosen):
                    first = chosen[0]
                    yield warning(
                        policy.at("spec", "ingress", rule, "ports", place, "port"),
                        f"The policy opens port {stated}, which none of its pods has; in "
                        f"{first.manifest.kind}/{first.manifest.name} there {show_ports(first)}.",
                        "A policy counts at the pod, with the container's port, not the Service's: "
                        "what was to be let in is refused.",
                        "Write the containerPort, by number or by name.",
                    )


def no_names(manifests: ManifestSet) -> Iterator[Finding]:
    """Pods that may talk to others, and may not ask where they are."""
    for workload in manifests.workloads:
        policies = governing(manifests, workload, "Egress")
        rules = [(one, place) for one in policies for place, _ in mappings(one.spec, "egress")]
        # Who may talk to nobody needs no names.
        if rules and not may_ask_names(manifests, workload):
            policy, place = rules[0]
            yield error(
                policy.at("spec", "egress", place),
                f"Pods of {workload.manifest.kind}/{workload.manifest.name} may talk to others, "
                "and may not ask DNS.",
                "No name resolves: every request ends with `Name or service not known`, or takes "
                "seconds and then fails.",
                "Allow UDP and TCP 53 to the namespace kube-system for all pods.",
            )


def chain_is_blocked(manifests: ManifestSet) -> Iterator[Finding]:
    """An address in the environment to which a policy does not let through."""
    for workload in manifests.workloads:
        for address in addresses(manifests, workload):
            service = manifests.named("Service", address.namespace, address.service)
            for target, port in _behind(manifests, service, address):
                if side := blocking(manifests, workload, target, port):
                    subject = workload if side == "Egress" else target
                    named = f"{subject.manifest.kind}/{subject.manifest.name}"
                    policies = governing(manifests, subject, side)
                    does = "go out" if side == "Egress" else "come in"
                    yield error(
                        policies[0].at("spec"),
                        f"{workload.manifest.kind}/{workload.manifest.name} asks "
                        f"{address.value} ({address.variable}), and no policy for {named} lets "
                        f"that {does} on port {port}.",
                        "Requests time out; nothing says why.",
                        f"Add a rule to a policy with policyTypes [{side}] for the pods of "
                        f"{named}; both sides have to allow it.",
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
    """Return the ports that a Service has if the address's is none of them, or nothing."""
    if text(service.spec, "type") == "ExternalName":
        return ""
    numbers: set[int | None] = {whole(port, "port") for _, port in mappings(service.spec, "ports")}
    if _is_headless(service):
        # DNS says the pods' own addresses: their ports are what is asked.
        pods = manifests.selected_by(service.namespace, service.spec.get("selector"))
        known: set[int | None] = {number for one in pods for number in one.port_numbers}
        numbers = known or numbers | {address.port}
    if address.port in numbers:
        return ""
    return ", ".join(str(number) for number in sorted(n for n in numbers if n)) or "no ports"


def _behind(
    manifests: ManifestSet, service: Manifest | None, address: Address
) -> Iterator[tuple[Workload, int]]:
    """Yield who answers at an address, and on which port of the pod."""
    if service is None or not mapping(service.spec, "selector"):
        return
    for workload in manifests.selected_by(service.namespace, service.spec.get("selector")):
        target: object = address.port
        if not _is_headless(service):
            for _, port in mappings(service.spec, "ports"):
                if port.get("port") == address.port:
                    target = port.get("targetPort", address.port)
        number = number_of(workload, target) if isinstance(target, int | str) else None
        # Where nobody listens, that is what is wrong, and URL01 says it.
        if number is not None and has_target(workload, number):
            yield workload, number


RULES = (
    Rule("URL01", address_leads_nowhere),
    Rule("NET01", policy_chooses_nothing),
    Rule("NET02", policy_port_missing),
    Rule("NET03", no_names),
    Rule("NET04", chain_is_blocked),
)
