"""Rules for single objects: duplicates, unserved API versions, values of a wrong type."""

from __future__ import annotations

from collections.abc import Iterator

from elastic_yolo.doctor.api import SERVED, is_custom, removal_of
from elastic_yolo.doctor.finding import Finding, error, warning
from elastic_yolo.doctor.manifest_set import ManifestSet
from elastic_yolo.doctor.manifests import Manifest
from elastic_yolo.doctor.rule import Rule
from elastic_yolo.doctor.values import Path, dig, mapping, mappings, text

_PSP = "Label the namespace instead: pod-security.kubernetes.io/enforce: restricted."
_METADATA = (("metadata", "labels"), ("metadata", "annotations"))


def duplicate_object(manifests: ManifestSet) -> Iterator[Finding]:
    """YAML04: the same object twice."""
    seen: dict[tuple[str, str, str, str], Manifest] = {}
    for one in manifests.manifests:
        key = (text(one.body, "apiVersion"), one.kind, one.namespace, one.name)
        first = seen.setdefault(key, one)
        if one.name and first is not one:
            yield warning(
                one.at(),
                f"{one.kind} {one.name} is a duplicate of {first.at()}.",
                "The one that is applied last wins, which depends on the order of the files.",
                "Remove one of them, or rename it.",
            )


def unserved_api_version(manifests: ManifestSet) -> Iterator[Finding]:
    """API01: an apiVersion that no supported Kubernetes serves, or not for this kind."""
    for one in manifests.manifests:
        version, served = text(one.body, "apiVersion"), SERVED.get(one.kind, ())
        if found := removal_of(version, one.kind):
            now, since = found
            what = f"Kubernetes {since} removed {version} of {one.kind}."
            fix = f"Use {now}; fields may have moved, `kubectl explain` shows them."
        elif served and version not in served and not is_custom(one.group):
            now, what = served[0], f"There is no {one.kind} in {version}."
            fix = f"Set apiVersion: {now}."
        else:
            continue
        yield error(
            one.at("apiVersion"),
            what,
            f'kubectl apply fails: no matches for kind "{one.kind}" in version "{version}".',
            fix if now else _PSP,
        )


def non_string_value(manifests: ManifestSet) -> Iterator[Finding]:
    """YAML05: a number or a boolean where Kubernetes takes strings only."""
    for one in manifests.manifests:
        for path, value in _string_values(one):
            if value is not None and not isinstance(value, str):
                yield error(
                    one.at(*path),
                    f"{'.'.join(map(str, path))} is {value!r}, which YAML reads as "
                    f"{type(value).__name__}, not as a string.",
                    "Kubernetes takes only strings here, and rejects the whole object.",
                    "Put it in quotes.",
                )


def _string_values(one: Manifest) -> Iterator[tuple[Path, object]]:
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
    Rule("YAML04", duplicate_object),
    Rule("YAML05", non_string_value),
    Rule("API01", unserved_api_version),
)
