"""Rules for rolling updates: room for the surge pod, and callers whose DNS names the old pods.

Source: kubernetes/kubernetes, pkg/controller/deployment/util (ResolveFenceposts): maxSurge is
rounded up, maxUnavailable down.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

from elastic_yolo.doctor.addresses import addresses
from elastic_yolo.doctor.cluster import PODS_ELSEWHERE
from elastic_yolo.doctor.dns import NOTICE_S, name_age
from elastic_yolo.doctor.drain import still_serves_s
from elastic_yolo.doctor.finding import Finding, warning
from elastic_yolo.doctor.manifest_set import ManifestSet
from elastic_yolo.doctor.manifests import Manifest
from elastic_yolo.doctor.ports import has_target
from elastic_yolo.doctor.rule import Rule
from elastic_yolo.doctor.values import mapping, quantity, share_of, text, whole
from elastic_yolo.doctor.workload import Workload

_ROOM = ("cpu", "memory")
_LARGEST = 10**6
_WAITS = (
    "The rollout replaces no pod before a further one has started: that one stays Pending, and "
    "the old version keeps serving."
)
_PROCEED = (
    "Set maxUnavailable: 50% (rounded down: of one pod it is none), make room, or lower requests "
    "or maxReplicas."
)


def surge_has_no_room(manifests: ManifestSet) -> Iterator[Finding]:
    """DEP05: a rollout needs a further pod, for which a quota or the nodes have no room."""
    for workload in manifests.workloads:
        pods = _pods(manifests, workload)
        if not _needs_further_pod(workload, pods):
            continue
        place = workload.manifest.at("spec", "strategy", "rollingUpdate")
        full = _full_quota(manifests, workload) or _full_nodes(manifests, workload)
        if full:
            yield warning(
                place,
                f"With {pods} pod{'s' if pods != 1 else ''}, a rollout of {workload.name} needs a "
                f"further one first: {full}.",
                _WAITS,
                _PROCEED,
            )


def names_outlive_pods(manifests: ManifestSet) -> Iterator[Finding]:
    """TERM02: DNS may name only the old pods for longer than they serve."""
    age = name_age(manifests)
    needed_s = age.seconds + NOTICE_S
    for service, workload in _called_by_name(manifests):
        serves_s = max(still_serves_s(manifests, one) for one in workload.containers)
        ready_s = min(max(0, whole(workload.manifest.spec, "minReadySeconds") or 0), _LARGEST)
        if serves_s + ready_s < needed_s:
            yield warning(
                workload.manifest.at("spec", "minReadySeconds"),
                f"An old pod of {workload.name} serves for {serves_s + ready_s:g} s after the new "
                f"one is ready (minReadySeconds {ready_s}, then DRAIN_DELAY_S or a sleep in "
                f"preStop {serves_s:g}); Service/{service.name} is headless, and its addresses may "
                f"be {age.seconds} s old ({age.source}).",
                "During a rollout callers may know only pods that have gone: their requests fail "
                "until DNS names the new ones.",
                f"Set minReadySeconds: {math.ceil(needed_s - serves_s)} ({NOTICE_S} s more than "
                "the addresses' age, for the callers' lookups); scaling does not wait for it.",
            )


def _called_by_name(manifests: ManifestSet) -> Iterator[tuple[Manifest, Workload]]:
    """Yield the Deployments that others call by the name of a headless Service."""
    called: dict[tuple[str, str], set[int | None]] = {}
    for caller in manifests.workloads:
        for one in addresses(manifests, caller):
            called.setdefault((one.namespace, one.service), set()).add(one.port)
    for service in manifests.of_kind("Service"):
        if text(service.spec, "clusterIP") != "None":
            continue
        if service.spec.get("publishNotReadyAddresses") is True:
            # Its callers expect pods that start or end.
            continue
        ports = called.get((service.namespace, service.name), set())
        for workload in manifests.selected_by(service.namespace, mapping(service.spec, "selector")):
            reached = any(port is not None and has_target(workload, port) for port in ports)
            if reached and _rolls(workload) and workload.containers:
                yield service, workload


def _rolls(workload: Workload) -> bool:
    manifest = workload.manifest
    return manifest.kind == "Deployment" and text(manifest.spec, "strategy", "type") != "Recreate"


def _pods(manifests: ManifestSet, workload: Workload) -> int:
    """Return the number of pods to judge: of a cluster the current one, else the maximum."""
    if manifests.live:
        stated = whole(workload.manifest.spec, "replicas")
        return min(max(0, 1 if stated is None else stated), _LARGEST)
    return min(max(0, manifests.max_replicas(workload)), _LARGEST)


def _needs_further_pod(workload: Workload, pods: int) -> bool:
    strategy = mapping(workload.manifest.spec, "strategy", "rollingUpdate")
    surge = share_of(strategy.get("maxSurge", "25%"), pods, up=True)
    unavailable = share_of(strategy.get("maxUnavailable", "25%"), pods, up=False)
    # With both 0 the controller takes one pod away.
    return _rolls(workload) and pods > 0 and bool(surge) and unavailable == 0


def _full_quota(manifests: ManifestSet, workload: Workload) -> str:
    """Return which quota has no room for one more pod, as part of a sentence; "" if none."""
    for quota in manifests.of_kind("ResourceQuota"):
        if quota.namespace != workload.namespace or _is_scoped(quota):
            continue
        stated = mapping(quota.body, "status", "hard") if manifests.live else {}
        for name, value in (stated or mapping(quota.spec, "hard")).items():
            hard, more = quantity(value), _amount(workload, name)
            if hard is None or more is None or more <= 0:
                continue
            if manifests.live:
                used = quantity(quota.get("status", "used", name))
                state = "is used"
            else:
                used = _at_most(manifests, workload.namespace, name)
                state = "is what all pods take at their maximum"
            if used is not None and used + more > hard:
                return (
                    f"ResourceQuota/{quota.name} allows {name} {_show(hard, name)}, of which "
                    f"{_show(used, name)} {state}, and the pod takes {_show(more, name)}"
                )
    return ""


def _is_scoped(quota: Manifest) -> bool:
    return bool(quota.spec.get("scopes") or quota.spec.get("scopeSelector"))


def _at_most(manifests: ManifestSet, namespace: str, name: str) -> Fraction:
    """Return what the workloads of a namespace take at their maximum, jobs not counted."""
    total = Fraction()
    for one in manifests.workloads:
        if one.namespace == namespace and not one.is_job and one.manifest.kind != "DaemonSet":
            total += (_amount(one, name) or 0) * min(max(0, manifests.max_replicas(one)), _LARGEST)
    return total


def _amount(workload: Workload, name: object) -> Fraction | None:
    """Return what a pod takes of a resource of a quota; None for one that is not known."""
    if name in ("pods", "count/pods"):
        return Fraction(1)
    group, _, resource = str(name).rpartition(".")
    if resource not in _ROOM or group not in ("", "requests", "limits"):
        return None
    if group != "limits":
        return workload.resource_request(resource)
    every = [one.resource_limit(resource) for one in workload.containers]
    return sum((one for one in every if one is not None), Fraction())


def _full_nodes(manifests: ManifestSet, workload: Workload) -> str:
    """Return that no node has room for one more pod, as part of a sentence; "" if one has."""
    if not manifests.live or {"nodes", PODS_ELSEWHERE} & manifests.unread:
        return ""
    wanted = {name: workload.resource_request(name) for name in _ROOM}
    # A pod that no empty node could hold is a finding of RES03.
    nodes = [
        one
        for one in manifests.of_kind("Node")
        if not one.spec.get("unschedulable")
        and all(wanted[name] <= _allocatable(one, name) for name in _ROOM)
    ]
    free = [_free(manifests, one) for one in nodes]
    if not free or any(all(wanted[name] <= one[name] for name in _ROOM) for one in free):
        return ""
    name = next((one for one in _ROOM if all(wanted[one] > room[one] for room in free)), "cpu")
    most = max(one[name] for one in free)
    return (
        f"it requests {_show(wanted[name], name)} of {name}, and no node has more than "
        f"{_show(max(Fraction(), most), name)} left"
    )


def _free(manifests: ManifestSet, node: Manifest) -> dict[str, Fraction]:
    here = [one for one in manifests.all_pods if text(one.spec, "nodeName") == node.name]
    return {
        name: _allocatable(node, name)
        - sum((Workload(one).resource_request(name) for one in here), Fraction())
        for name in _ROOM
    }


def _allocatable(node: Manifest, name: str) -> Fraction:
    return quantity(node.get("status", "allocatable", name)) or Fraction()


def _show(amount: Fraction, name: object) -> str:
    if str(name).endswith("memory"):
        return f"{float(amount) / 2**30:.1f} GiB"
    return f"{float(amount):g}"


RULES = (
    Rule("DEP05", surge_has_no_room),
    Rule("TERM02", names_outlive_pods),
)
