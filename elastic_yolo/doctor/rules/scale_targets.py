"""Rules for what autoscalers scale: the target exists, can be scaled, and has no other autoscaler.

Source: kubernetes/kubernetes, pkg/controller/podautoscaler/horizontal.go (reconcileAutoscaler,
validateAndParseSelector).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations

from elastic_yolo.doctor.api import (
    SCALABLE,
    SERVED,
    correct_kind,
    group_of,
    is_custom,
    removal_of,
)
from elastic_yolo.doctor.finding import Finding, error, warning
from elastic_yolo.doctor.manifest_set import ManifestSet, scale_target
from elastic_yolo.doctor.manifests import Manifest
from elastic_yolo.doctor.rule import Rule
from elastic_yolo.doctor.scalers import HPA, KEDA, active_scalers, takes_over, target_of
from elastic_yolo.doctor.selectors import is_by_added_labels, selects
from elastic_yolo.doctor.values import mapping, mappings, text
from elastic_yolo.doctor.workload import Workload

_NOT_SCALED = "It reports FailedGetScale and does not scale."


def target_not_found(manifests: ManifestSet) -> Iterator[Finding]:
    """HPA02: the target does not exist."""
    for scaler in manifests.of_kind(HPA, KEDA):
        kind, name = scale_target(scaler)
        # An autoscaler can scale custom resources as well, which this program does not read.
        own = kind in SCALABLE and not is_custom(group_of(_version(scaler)))
        if own and manifests.named(kind, scaler.namespace, name) is None:
            yield manifests.missing(
                scaler.namespace,
                scaler.at("spec", "scaleTargetRef"),
                f"{scaler.kind}/{scaler.name} scales {kind}/{name}, which does not exist.",
                _NOT_SCALED,
                f"Correct spec.scaleTargetRef, or add {kind}/{name} in namespace "
                f"{scaler.namespace}.",
            )
        elif not kind or not name:
            yield error(
                scaler.at("spec", "scaleTargetRef"),
                f"{scaler.kind}/{scaler.name} has no kind or no name in spec.scaleTargetRef.",
                "The API server rejects it, or it scales nothing.",
                "Set apiVersion, kind and name of the Deployment.",
            )


def not_scalable(manifests: ManifestSet) -> Iterator[Finding]:
    """HPA10: no server has the apiVersion and kind of the target, or it cannot be scaled."""
    for scaler in manifests.of_kind(HPA, KEDA):
        kind, name = scale_target(scaler)
        if kind and name:
            yield from _reference_faults(manifests, scaler, kind)


def two_autoscalers(manifests: ManifestSet) -> Iterator[Finding]:
    """HPA03: two autoscalers of the same sort scale one target, or two scale the same pods."""
    for name, scalers in _by_target(manifests):
        for kind in (HPA, KEDA):
            same = [one for one in scalers if one.kind == kind]
            yield from (_second(same[0], other, name) for other in same[1:])
    scaled = [(one, target_of(manifests, one)) for one in active_scalers(manifests)]
    for (one, first), (other, second) in combinations(scaled, 2):
        if first is None or second is None or first.manifest is second.manifest:
            continue
        if pods := _shared_pods(manifests, first, second):
            yield error(
                other.at("spec", "scaleTargetRef"),
                f"The selectors of {first.name} and {second.name} both choose the pods of "
                f"{pods.name}; {one.kind}/{one.name} scales the first, {other.kind}/{other.name} "
                "the second.",
                "An autoscaler finds its pods by the selector of its target. With pods of two "
                "autoscalers, both report AmbiguousSelector, and neither scales.",
                "Give each target a label of its own, in its selector and in its template.",
            )


def keda_and_hpa(manifests: ManifestSet) -> Iterator[Finding]:
    """HPA07: an HPA and a ScaledObject scale one target."""
    for target, scalers in _by_target(manifests):
        kinds = {one.kind: one for one in scalers}
        if HPA in kinds and KEDA in kinds and not takes_over(kinds[KEDA], kinds[HPA]):
            hpa, keda = kinds[HPA], kinds[KEDA]
            yield error(
                hpa.at("spec", "scaleTargetRef"),
                f"ScaledObject/{keda.name} also scales {target}.",
                "KEDA creates an HPA for each ScaledObject. With two HPAs, neither scales; KEDA's "
                "admission webhook rejects the second.",
                "Remove the HPA; if you need its CPU target, add a trigger of type cpu to the "
                "ScaledObject.",
            )


def _version(scaler: Manifest) -> str:
    """Return the apiVersion of the target; KEDA's default is apps/v1, an HPA has none."""
    stated = text(scaler.spec, "scaleTargetRef", "apiVersion")
    return stated or ("apps/v1" if scaler.kind == KEDA else "")


def _reference_faults(manifests: ManifestSet, scaler: Manifest, kind: str) -> Iterator[Finding]:
    version = _version(scaler)
    place = scaler.at("spec", "scaleTargetRef", "apiVersion")
    group, served = group_of(version), SERVED.get(kind, ("",))[0]
    said = f"{scaler.kind}/{scaler.name} scales a {kind}"
    if version.count("/") > 1:
        yield error(
            place, f"{said} of the apiVersion {version!r}, which is none.", _NOT_SCALED, _fix(kind)
        )
    elif is_custom(group):
        yield from _custom_faults(manifests, scaler, kind)
    elif kind in SCALABLE and group == group_of(served):
        if version and version != served:
            since = removal_of(version, kind)
            yield warning(
                place,
                f"{said} of {version}, which "
                + (f"Kubernetes {since[1]} removed." if since else "no Kubernetes serves."),
                "Autoscalers look at the group only, so it is scaled; whatever reads the version "
                "too, such as KEDA for custom resources or a GitOps tool, does not find it.",
                _fix(kind),
            )
    elif kind in SCALABLE:
        why = "" if version else ", because scaleTargetRef has no apiVersion"
        where = f"the group {group}" if group else f"the core group{why}"
        yield error(
            place,
            f"{said} in {where}.",
            f'No server has it there: no matches for kind "{kind}" in group "{group}". '
            + _NOT_SCALED,
            _fix(kind),
        )
    elif kind in SERVED and group == group_of(served):
        yield error(
            scaler.at("spec", "scaleTargetRef", "kind"),
            f"{said}, which cannot be scaled: it has no subresource scale.",
            f"Only {', '.join(SCALABLE)} and some custom resources have one. " + _NOT_SCALED,
            "Scale a Deployment or a StatefulSet; a DaemonSet has one pod on each node."
            if kind == "DaemonSet"
            else "Scale a Deployment or a StatefulSet.",
        )
    else:
        meant = correct_kind(kind)
        yield error(
            scaler.at("spec", "scaleTargetRef", "kind"),
            f"{said}, and no server has that kind in "
            + (f"the group {group}." if group else "the core group."),
            f'no matches for kind "{kind}" in group "{group}". {_NOT_SCALED}',
            f"Kinds are written in one way only: {meant}. {_fix(meant)}"
            if meant
            else "Set kind and apiVersion as the target's own manifest states them.",
        )


def _custom_faults(manifests: ManifestSet, scaler: Manifest, kind: str) -> Iterator[Finding]:
    """Yield a finding if the definition of a custom resource is there and has no scale."""
    group, _, version = _version(scaler).rpartition("/")
    for one in manifests.of_kind("CustomResourceDefinition"):
        if (text(one.spec, "group"), text(one.spec, "names", "kind")) != (group, kind):
            continue
        versions = [body for _, body in mappings(one.spec, "versions")]
        stated = [body for body in versions if text(body, "name") == version] or versions
        if not any(mapping(body, "subresources", "scale") for body in (*stated, one.spec)):
            yield error(
                scaler.at("spec", "scaleTargetRef"),
                f"{scaler.kind}/{scaler.name} scales a {kind}, and "
                f"CustomResourceDefinition/{one.name} has no subresources.scale.",
                _NOT_SCALED,
                "Scale a kind that has the subresource scale, or add it to the definition.",
            )


def _fix(kind: str) -> str:
    served = SERVED.get(kind)
    return f"Set apiVersion: {served[0]} in spec.scaleTargetRef." if served else "Correct it."


def _second(first: Manifest, other: Manifest, target: str) -> Finding:
    hpas = other.kind == HPA
    return error(
        other.at("spec", "scaleTargetRef"),
        f"{first.kind}/{first.name} also scales {target}.",
        "Both report AmbiguousSelector, and neither scales."
        if hpas
        else "KEDA's admission webhook rejects the second; without it, neither scales.",
        "Put all metrics into one of them; an HPA uses the largest result."
        if hpas
        else "Put all triggers into one of them; the largest result counts.",
    )


def _by_target(manifests: ManifestSet) -> Iterator[tuple[str, list[Manifest]]]:
    found = defaultdict(list)
    for one in active_scalers(manifests):
        kind, name = scale_target(one)
        if name:
            found[one.namespace, kind, name].append(one)
    for (_, kind, name), scalers in found.items():
        yield f"{kind}/{name}", scalers


def _shared_pods(manifests: ManifestSet, one: Workload, other: Workload) -> Workload | None:
    """Return a workload whose pods both selectors choose, or None."""
    first, second = one.selector, other.selector
    if one.namespace != other.namespace or first is None or second is None:
        return None
    if is_by_added_labels(first) or is_by_added_labels(second):
        return None
    both = (
        pods
        for pods in manifests.selected_by(one.namespace, first)
        if selects(second, pods.labels) and not pods.is_hook
    )
    return next(both, None)


RULES = (
    Rule("HPA02", target_not_found),
    Rule("HPA03", two_autoscalers),
    Rule("HPA07", keda_and_hpa),
    Rule("HPA10", not_scalable),
)
