"""Rules for the ConfigMaps, Secrets and volumes that pods refer to."""

from __future__ import annotations

from collections.abc import Iterator

from elastic_yolo.doctor.finding import Finding, Place, error
from elastic_yolo.doctor.manifest_set import ManifestSet
from elastic_yolo.doctor.rule import Rule
from elastic_yolo.doctor.values import Path, mapping, mappings, text
from elastic_yolo.doctor.workload import Container, Workload

# Kubernetes creates it in every namespace.
_EVERYWHERE = ("ConfigMap", "kube-root-ca.crt")
_RESOURCES = {
    "ConfigMap": "configmaps",
    "Secret": "secrets",
    "PersistentVolumeClaim": "persistentvolumeclaims",
}


def volume_source_missing(manifests: ManifestSet) -> Iterator[Finding]:
    """VOL01: the claim, ConfigMap or Secret of a volume does not exist."""
    for workload in manifests.workloads:
        for path, kind, name in _volume_sources(workload):
            if _is_absent(manifests, workload, kind, name):
                yield _missing(
                    manifests, workload.at(*path), kind, name, "ContainerCreating, or Pending"
                )


def mounted_volume_missing(manifests: ManifestSet) -> Iterator[Finding]:
    """VOL02: a container mounts a volume that the pod does not have."""
    for workload in manifests.workloads:
        there = {text(one, "name") for _, one in mappings(workload.pod, "volumes")}
        # A StatefulSet has one more volume for each claim template.
        claims = mappings(workload.manifest.spec, "volumeClaimTemplates")
        there |= {text(one, "metadata", "name") for _, one in claims}
        for container in workload.all_containers:
            for place, mount in mappings(container.body, "volumeMounts"):
                name = text(mount, "name")
                if name not in there and not _is_token(workload, name):
                    yield error(
                        container.at("volumeMounts", place),
                        f"The container {container.name} mounts the volume {name!r}, which the pod "
                        "does not have.",
                        "The API server rejects the pod.",
                        "Add it under volumes, or correct the name.",
                    )


def configuration_missing(manifests: ManifestSet) -> Iterator[Finding]:
    """CFG01: a ConfigMap, Secret or key that an environment variable needs does not exist."""
    for workload in manifests.workloads:
        for container in workload.all_containers:
            yield from _missing_objects(manifests, workload, container)
            yield from _missing_keys(manifests, workload, container)


def _missing_objects(
    manifests: ManifestSet, workload: Workload, container: Container
) -> Iterator[Finding]:
    for kind, reference in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
        for place, source in mappings(container.body, "envFrom"):
            stated = mapping(source, reference)
            name = text(stated, "name")
            if not stated.get("optional") and _is_absent(manifests, workload, kind, name):
                yield _missing(manifests, container.at("envFrom", place), kind, name, _NO_CONFIG)
    for kind, reference in (("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")):
        for place, variable in mappings(container.body, "env"):
            stated = mapping(variable, "valueFrom", reference)
            name = text(stated, "name")
            if not stated.get("optional") and _is_absent(manifests, workload, kind, name):
                yield _missing(manifests, container.at("env", place), kind, name, _NO_CONFIG)


def _missing_keys(
    manifests: ManifestSet, workload: Workload, container: Container
) -> Iterator[Finding]:
    for place, variable in mappings(container.body, "env"):
        stated = mapping(variable, "valueFrom", "configMapKeyRef")
        found = manifests.named("ConfigMap", workload.namespace, text(stated, "name"))
        key = text(stated, "key")
        if found is None or not key or stated.get("optional"):
            continue
        keys = mapping(found.body, "data").keys() | mapping(found.body, "binaryData").keys()
        if key not in keys:
            there = ", ".join(sorted(map(str, keys))) or "none"
            yield error(
                container.at("env", place),
                f"{text(variable, 'name')} needs the key {key!r} of ConfigMap/{found.name}, "
                f"whose keys are {there}.",
                f"The pod stays in {_NO_CONFIG}.",
                "Correct the key, or add it to the ConfigMap.",
            )


_NO_CONFIG = "CreateContainerConfigError"


def _volume_sources(workload: Workload) -> Iterator[tuple[Path, str, str]]:
    """Yield path, kind and name of each object that a volume needs; no optional ones."""
    for place, volume in mappings(workload.pod, "volumes"):
        claim = text(volume, "persistentVolumeClaim", "claimName")
        sources = [("PersistentVolumeClaim", claim, mapping(volume, "persistentVolumeClaim"))]
        for body in (volume, *(one for _, one in mappings(volume, "projected", "sources"))):
            config, secret = mapping(body, "configMap"), mapping(body, "secret")
            sources.append(("ConfigMap", text(config, "name"), config))
            # A Secret volume has secretName, a source of a projected volume has name.
            name = text(secret, "secretName") or text(secret, "name")
            sources.append(("Secret", name, secret))
        for kind, name, stated in sources:
            if name and not stated.get("optional"):
                yield ("volumes", place), kind, name


def _is_absent(manifests: ManifestSet, workload: Workload, kind: str, name: str) -> bool:
    if not name or _RESOURCES[kind] in manifests.unread or (kind, name) == _EVERYWHERE:
        return False
    if kind == "Secret" and not manifests.live:
        # Secrets belong in no file: only in a cluster can one be missing.
        return False
    found = manifests.named(kind, workload.namespace, name)
    return found is None and (kind, workload.namespace, name) not in _generated_secrets(manifests)


def _generated_secrets(manifests: ManifestSet) -> Iterator[tuple[str, str, str]]:
    """Yield the Secrets that operators create for other objects."""
    for one in manifests.of_kind("Certificate", "SealedSecret", "ExternalSecret"):
        stated = text(one.spec, "secretName") or text(one.spec, "target", "name")
        yield "Secret", one.namespace, stated or one.name


def _missing(manifests: ManifestSet, place: Place, kind: str, name: str, state: str) -> Finding:
    return Finding(
        "error" if manifests.live else "warning",
        place,
        f"{kind}/{name} "
        + ("does not exist in the cluster." if manifests.live else "is not among these manifests."),
        f"Without it, the pod stays in {state}.",
        f"Create it first, or correct the name; {kind} and pod must be in the same namespace.",
    )


def _is_token(workload: Workload, name: str) -> bool:
    # Kubernetes adds this volume when it creates the pod.
    return name.startswith("kube-api-access-") and workload.manifest.kind == "Pod"


RULES = (
    Rule("CFG01", configuration_missing),
    Rule("VOL01", volume_source_missing),
    Rule("VOL02", mounted_volume_missing),
)
