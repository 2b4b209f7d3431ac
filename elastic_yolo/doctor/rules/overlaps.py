"""Rules for pods that two selectors choose: of two workloads, of a Service, of two budgets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import combinations

from elastic_yolo.doctor.finding import Finding, Severity, warning
from elastic_yolo.doctor.manifest_set import ManifestSet
from elastic_yolo.doctor.manifests import Manifest
from elastic_yolo.doctor.ports import has_target
from elastic_yolo.doctor.rule import Rule
from elastic_yolo.doctor.scalers import active_scalers, target_of
from elastic_yolo.doctor.selectors import is_by_added_labels, selects, show
from elastic_yolo.doctor.values import mapping, mappings
from elastic_yolo.doctor.workload import Workload

_TAG = re.compile(r"(@.*|:[^/:]*)$")


def selects_other_pods(manifests: ManifestSet) -> Iterator[Finding]:
    """DEP04: the selector of a workload chooses another workload's pods.

    Sources: Kubernetes, "Deployments" (Selector) and "Labels and Selectors". Since Kubernetes 1.7
    controllers leave pods alone that another one owns; an HPA, which finds the pods by the
    selector, does not ask for their owner.
    """
    scaled = {
        target: one
        for one in active_scalers(manifests)
        if (target := target_of(manifests, one)) is not None
    }
    scalers = {target.manifest: one for target, one in scaled.items()}
    told: set[tuple[Manifest, Manifest]] = set()
    for one in manifests.workloads:
        others = [
            other
            for other in _chosen_others(manifests, one)
            if (other.manifest, one.manifest) not in told and not _is_shared(other, scaled)
        ]
        if not others:
            continue
        told |= {(one.manifest, other.manifest) for other in others}
        mutual = [other for other in others if one in _chosen_others(manifests, other)]
        misled = [scalers[it.manifest] for it in (one, *mutual) if it.manifest in scalers]
        severity: Severity = "error" if misled else "warning"
        yield Finding(
            severity,
            one.manifest.at("spec", "selector"),
            f"The selector of {one.name} ({show(one.selector)}) also chooses the pods of "
            f"{' and '.join(other.name for other in others)}.",
            f"{misled[0].kind}/{misled[0].name} finds its pods by this selector: it averages the "
            "metrics of all of them, and adds or removes pods for a load that is not its own."
            if misled
            else "Kubernetes wants the selectors of a namespace to be disjoint: an autoscaler, a "
            "budget or kubectl logs counts the pods of both, and pods without an owner go to "
            "either.",
            "Add a label that differs, such as app.kubernetes.io/component, to each selector and "
            "template. A selector cannot be changed: delete the workload and apply it again.",
        )


def service_for_two(manifests: ManifestSet) -> Iterator[Finding]:
    """SVC04: a Service also chooses pods that are clearly not meant.

    Several workloads behind a Service are usual (canary, blue and green, shards). A mistake are
    pods of a job, which are no server, and those of another program behind a Service that has the
    name of one workload.
    """
    for service in manifests.of_kind("Service"):
        selector = mapping(service.spec, "selector")
        # A headless Service may be there to name pods, or to collect their metrics.
        if not selector or service.spec.get("clusterIP") == "None" or is_by_added_labels(selector):
            continue
        chosen = [
            one
            for one in manifests.selected_by(service.namespace, selector)
            if not one.is_hook and one.containers and _may_get_requests(service, one)
        ]
        meant = [one for one in chosen if not one.is_job]
        own = next((one for one in meant if one.manifest.name == service.name), None)
        strangers = [one for one in meant if own is not None and not _same_program(own, one)]
        unmeant = [one for one in chosen if meant and one.is_job] + strangers
        if unmeant:
            names = " and ".join(one.name for one in unmeant)
            yield warning(
                service.at("spec", "selector"),
                f"Service/{service.name} selects {show(selector)}, and so the pods of {names} as "
                f"well as those of {(own or meant[0]).name}.",
                "Some of the requests go to pods that do not serve them.",
                "Add a label to the selector that only the meant pods have.",
            )


def two_budgets(manifests: ManifestSet) -> Iterator[Finding]:
    """PDB02: two PodDisruptionBudgets choose the same pods.

    Source: kubernetes/kubernetes, pkg/registry/core/pod/storage/eviction.go.
    """
    budgets = [
        one
        for one in manifests.of_kind("PodDisruptionBudget")
        # Without a selector it chooses no pod.
        if isinstance(one.spec.get("selector"), dict)
        and not is_by_added_labels(one.spec["selector"])
    ]
    for one, other in combinations(budgets, 2):
        if one.namespace != other.namespace:
            continue
        shared = [
            pods
            for pods in manifests.selected_by(one.namespace, one.spec["selector"])
            if selects(other.spec["selector"], pods.labels)
        ]
        if shared:
            names = " and ".join(pods.name for pods in shared)
            yield warning(
                other.at("spec", "selector"),
                f"PodDisruptionBudget/{one.name} also chooses the pods of {names}.",
                "A pod with more than one budget cannot be evicted: kubectl drain and cluster "
                "upgrades never finish on its node.",
                "Make the selectors disjoint, or remove one of the two.",
            )


def _chosen_others(manifests: ManifestSet, one: Workload) -> list[Workload]:
    """Return the other workloads whose pods the selector of one chooses."""
    selector = one.selector
    if selector is None or one.manifest.owners or is_by_added_labels(selector):
        return []
    return [
        other
        for other in manifests.selected_by(one.namespace, selector)
        # Owned by what this program does not know, or gone after a moment.
        if other.manifest is not one.manifest and not other.manifest.owners and not other.is_hook
    ]


def _is_shared(pods: Workload, targets: Iterable[Workload]) -> bool:
    """Return whether the targets of two autoscalers choose a workload's pods: HPA03 says so."""
    choosing = {
        one.manifest
        for one in targets
        if one.namespace == pods.namespace and one.selector and selects(one.selector, pods.labels)
    }
    return len(choosing) > 1


def _may_get_requests(service: Manifest, workload: Workload) -> bool:
    """Return whether the pods have a port of the Service.

    A pod without the named port is no endpoint of it, and one that declares no port may listen on
    any number.
    """
    names = {name for one in workload.containers for name in one.port_names}
    return any(
        target in names if isinstance(target, str) else has_target(workload, target)
        for _, port in mappings(service.spec, "ports")
        if isinstance(target := port.get("targetPort", port.get("port")), int | str)
    )


def _same_program(one: Workload, other: Workload) -> bool:
    """Return whether two workloads have an image in common, whatever its tag and registry."""
    return not _programs(one).isdisjoint(_programs(other))


def _programs(workload: Workload) -> set[str]:
    return {_TAG.sub("", one.image).rpartition("/")[2] for one in workload.containers}


RULES = (
    Rule("DEP04", selects_other_pods),
    Rule("SVC04", service_for_two),
    Rule("PDB02", two_budgets),
)
