"""What is wrong with an object by itself: versions that are gone, numbers where text belongs."""

from __future__ import annotations

from collections.abc import Iterator

from elastic_yolo.doctor.finding import Finding, error, warning
from elastic_yolo.doctor.manifest_set import ManifestSet
from elastic_yolo.doctor.manifests import Manifest
from elastic_yolo.doctor.rule import Rule
from elastic_yolo.doctor.values import Path, dig, mapping, mappings, text

# Source: Kubernetes, "Deprecated API Migration Guide". What serves a kind now, and since when its
# old version is gone; an empty kind stands for all others of a version.
_GONE: dict[tuple[str, str], tuple[str, str]] = {
    ("extensions/v1beta1", "Ingress"): ("networking.k8s.io/v1", "1.22"),
    ("extensions/v1beta1", "NetworkPolicy"): ("networking.k8s.io/v1", "1.16"),
    ("extensions/v1beta1", ""): ("apps/v1", "1.16"),
    ("apps/v1beta1", ""): ("apps/v1", "1.16"),
    ("apps/v1beta2", ""): ("apps/v1", "1.16"),
    ("autoscaling/v2beta1", ""): ("autoscaling/v2", "1.25"),
    ("autoscaling/v2beta2", ""): ("autoscaling/v2", "1.26"),
    ("batch/v1beta1", ""): ("batch/v1", "1.25"),
    ("networking.k8s.io/v1beta1", "Ingress"): ("networking.k8s.io/v1", "1.22"),
    ("networking.k8s.io/v1beta1", "IngressClass"): ("networking.k8s.io/v1", "1.22"),
    ("policy/v1beta1", "PodDisruptionBudget"): ("policy/v1", "1.25"),
    ("policy/v1beta1", "PodSecurityPolicy"): ("", "1.25"),
    ("rbac.authorization.k8s.io/v1beta1", ""): ("rbac.authorization.k8s.io/v1", "1.22"),
    ("storage.k8s.io/v1beta1", "StorageClass"): ("storage.k8s.io/v1", "1.22"),
    ("apiextensions.k8s.io/v1beta1", ""): ("apiextensions.k8s.io/v1", "1.22"),
}
_PSP = "Label the namespace instead: pod-security.kubernetes.io/enforce: restricted."
_METADATA = (("metadata", "labels"), ("metadata", "annotations"))


def stated_twice(manifests: ManifestSet) -> Iterator[Finding]:
    """The same object, a second time."""
    seen: dict[tuple[str, str, str, str], Manifest] = {}
    for one in manifests.manifests:
        key = (text(one.body, "apiVersion"), one.kind, one.namespace, one.name)
        first = seen.setdefault(key, one)
        if one.name and first is not one:
            yield warning(
                one.at(),
                f"{one.kind} {one.name} is stated twice; the first time is {first.at()}.",
                "What is applied last wins, and which that is depends on the order of the files.",
                "Keep one of the two, or give the other a name of its own.",
            )


def versions_that_are_gone(manifests: ManifestSet) -> Iterator[Finding]:
    """An apiVersion that no supported Kubernetes serves."""
    for one in manifests.manifests:
        version = text(one.body, "apiVersion")
        found = _GONE.get((version, one.kind), _GONE.get((version, "")))
        if found is not None:
            now, since = found
            moved = f"Write {now}; fields may have moved, `kubectl explain` says where to."
            yield error(
                one.at("apiVersion"),
                f"{version} of {one.kind} is not served any more since Kubernetes {since}.",
                f'kubectl ends with: no matches for kind "{one.kind}" in version "{version}".',
                moved if now else _PSP,
            )


def numbers_for_text(manifests: ManifestSet) -> Iterator[Finding]:
    """Numbers and booleans where Kubernetes takes text alone."""
    for one in manifests.manifests:
        for path, value in _texts(one):
            if value is not None and not isinstance(value, str):
                yield error(
                    one.at(*path),
                    f"{'.'.join(map(str, path))} is {value!r}, which YAML reads as "
                    f"{type(value).__name__}, and not as text.",
                    "Kubernetes takes text alone here, and refuses the whole object.",
                    "Put quotes around it.",
                )


def _texts(one: Manifest) -> Iterator[tuple[Path, object]]:
    places: list[Path] = [*_METADATA]
    if one.kind in ("ConfigMap", "Secret"):
        places += [("data",), ("stringData",)]
    if one.kind == "Service":
        places += [("spec", "selector")]
    places += [("spec", "selector", "matchLabels")]
    template: Path = {"CronJob": ("spec", "jobTemplate", "spec", "template"), "Pod": ()}.get(
        one.kind, ("spec", "template")
    )
    places += [(*template, "metadata", "labels"), (*template, "metadata", "annotations")]
    places += [(*template, "spec", "nodeSelector")]
    for place in dict.fromkeys(places):
        for key, value in mapping(one.body, *place).items():
            yield (*place, str(key)), value
    for group in ("initContainers", "containers"):
        for container, body in mappings(dig(one.body, *template, "spec"), group):
            for variable, entry in mappings(body, "env"):
                path = (*template, "spec", group, container, "env", variable, "value")
                yield path, entry.get("value")


RULES = (
    Rule("YAML04", stated_twice),
    Rule("YAML05", numbers_for_text),
    Rule("API01", versions_that_are_gone),
)
