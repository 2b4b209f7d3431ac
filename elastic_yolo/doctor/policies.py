"""Which connections NetworkPolicies allow.

What the manifests do not tell, such as the labels of a namespace that is not among them, counts as
allowed: a finding has to be certain.
"""

from __future__ import annotations

from typing import Any, Literal

from elastic_yolo.doctor.manifest_set import ManifestSet
from elastic_yolo.doctor.manifests import Manifest
from elastic_yolo.doctor.ports import number_of
from elastic_yolo.doctor.selectors import selects
from elastic_yolo.doctor.values import dig, mapping, mappings, strings, text, whole
from elastic_yolo.doctor.workload import Workload

Direction = Literal["Ingress", "Egress"]
_NAME_LABEL = "kubernetes.io/metadata.name"
_DNS_NAMESPACE = "kube-system"
_DNS_PORT = 53


def governing(manifests: ManifestSet, workload: Workload, direction: Direction) -> list[Manifest]:
    """Return the policies that restrict a workload's pods in a direction."""
    return [
        one
        for one in manifests.of_kind("NetworkPolicy")
        if one.namespace == workload.namespace
        and selects(one.spec.get("podSelector"), workload.labels)
        and direction in _types(one)
    ]


def blocking(
    manifests: ManifestSet, source: Workload, target: Workload, port: int
) -> Direction | None:
    """Return the side that refuses a connection to a port of a pod, or None."""
    if not _allows(manifests, source, "Egress", target, target, port):
        return "Egress"
    if not _allows(manifests, target, "Ingress", source, target, port):
        return "Ingress"
    return None


def may_reach_dns(manifests: ManifestSet, workload: Workload) -> bool:
    """Return whether the policies allow a workload's pods to reach the cluster's DNS."""
    return any(
        _may_be_dns(manifests, rule)
        for policy in governing(manifests, workload, "Egress")
        for _, rule in mappings(policy.spec, "egress")
    )


def _types(policy: Manifest) -> list[str]:
    stated = strings(policy.spec, "policyTypes")
    return stated or ["Ingress", *(["Egress"] if "egress" in policy.spec else [])]


def _allows(
    manifests: ManifestSet,
    subject: Workload,
    direction: Direction,
    peer: Workload,
    target: Workload,
    port: int,
) -> bool:
    """Return whether a rule of `subject` allows `peer` and the port of `target`."""
    policies = governing(manifests, subject, direction)
    rules, peers = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    return not policies or any(
        _matches_peer(manifests, policy, rule.get(peers), peer) and _has_port(rule, target, port)
        for policy in policies
        for _, rule in mappings(policy.spec, rules)
    )


def _matches_peer(manifests: ManifestSet, policy: Manifest, peers: Any, workload: Workload) -> bool:
    entries = [one for _, one in mappings(peers)]
    if not entries:
        return True
    return any(_is_peer(manifests, policy, one, workload) for one in entries)


def _is_peer(
    manifests: ManifestSet, policy: Manifest, peer: dict[Any, Any], workload: Workload
) -> bool:
    if "ipBlock" in peer:
        return True
    if "namespaceSelector" in peer:
        there = _may_be_namespace(manifests, peer["namespaceSelector"], workload.namespace)
    else:
        there = policy.namespace == workload.namespace
    return there and selects(peer.get("podSelector"), workload.labels)


def _may_be_namespace(manifests: ManifestSet, selector: Any, name: str) -> bool:
    known = manifests.named("Namespace", "default", name)
    stated = mapping(selector, "matchLabels").get(_NAME_LABEL)
    if stated is not None and stated != name:
        return False
    labels = {} if known is None else mapping(known.body, "metadata", "labels")
    return known is None or selects(selector, {_NAME_LABEL: name, **labels})


def _has_port(rule: dict[Any, Any], target: Workload, number: int) -> bool:
    ports = mappings(rule, "ports")
    return not ports or any(_covers(one, number, target) for _, one in ports)


def _covers(port: dict[Any, Any], number: int, target: Workload | None) -> bool:
    stated = dig(port, "port")
    if stated is None:
        return True
    if isinstance(stated, str):
        return target is not None and number_of(target, stated) == number
    first = whole(port, "port")
    last = whole(port, "endPort")
    return first is not None and first <= number <= (first if last is None else last)


def _may_be_dns(manifests: ManifestSet, rule: dict[Any, Any]) -> bool:
    peers = [one for _, one in mappings(rule, "to")]
    there = not peers or any(
        "ipBlock" in one
        or (
            "namespaceSelector" in one
            and _may_be_namespace(manifests, one["namespaceSelector"], _DNS_NAMESPACE)
        )
        for one in peers
    )
    ports = [one for _, one in mappings(rule, "ports")]
    port_allowed = not ports or any(
        text(one, "protocol") == "UDP"
        # The name of the port of kube-dns.
        and (one.get("port") == "dns" or _covers(one, _DNS_PORT, None))
        for one in ports
    )
    return there and port_allowed
