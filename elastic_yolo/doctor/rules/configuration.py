"""ConfigMaps, Secrets and volumes that pods name."""

from __future__ import annotations

from collections.abc import Iterator

from elastic_yolo.doctor.finding import Finding, Place, error
from elastic_yolo.doctor.manifest_set import ManifestSet
from elastic_yolo.doctor.rule import Rule
from elastic_yolo.doctor.values import Path, mapping, mappings, text
from elastic_yolo.doctor.workload import Container, Workload

# Kubernetes itself puts it into every namespace.
_EVERYWHERE = ("ConfigMap", "kube-root-ca.crt")
_READ_AS = {
    "ConfigMap": "configmaps",
    "Secret": "secrets",
    "PersistentVolumeClaim": "persistentvolumeclaims",
}


def volume_names_nothing(manifests: ManifestSet) -> Iterator[Finding]:
    """A volume whose claim, ConfigMap or Secret is not there."""
    for workload in manifests.workloads:
        for path, kind, name in _volume_sources(workload):
            if _is_absent(manifests, workload, kind, name):
                yield _missing(
                    manifests, workload.at(*path), kind, name, "ContainerCreating, or Pending"
                )


def mount_names_nothing(manifests: ManifestSet) -> Iterator[Finding]:
    """A mount of a volume that the pod does not have."""
    for workload in manifests.workloads:
        there = {text(one, "name") for _, one in mappings(workload.pod, "volumes")}
        # A StatefulSet has one more for each of its claims.
        claims = mappings(workload.manifest.spec, "volumeClaimTemplates")
        there |= {text(one, "metadata", "name") for _, one in claims}
        for container in workload.all_containers:
            for place, mount in mappings(container.body, "volumeMounts"):
                name = text(mount, "name")
                if name not in there and not _is_token(workload, name):
                    yield error(
                        container.at("volumeMounts", place),
                        f"The container {container.name} mounts a volume {name!r}, which the pod "
                        "does not have.",
                        "The API server refuses the pod.",
                        "Add it under volumes, or correct the name.",
                    )


def configuration_missing(manifests: ManifestSet) -> Iterator[Finding]:
    """A ConfigMap, or a key of one, that an environment is made of."""
    for workload in manifests.workloads:
        for container in workload.all_containers:
            yield from _missing_whole(manifests, workload, container)
            yield from _missing_keys(manifests, workload, container)


def _missing_whole(
    manifests: ManifestSet, workload: Workload, container: Container
) -> Iterator[Finding]:
    for kind, reference in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
        for place, source in mappings(container.body, "envFrom"):
            stated = mapping(source, reference)
            name = text(stated, "name")
            # Secrets are rightly kept out of files: only a cluster can say that one is missing.
            known = manifests.live or kind == "ConfigMap"
            if known and not stated.get("optional") and _is_absent(manifests, workload, kind, name):
                yield _missing(manifests, container.at("envFrom", place), kind, name, _NO_CONFIG)
    for kind, reference in (("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")):
        for place, variable in mappings(container.body, "env"):
            stated = mapping(variable, "valueFrom", reference)
            name = text(stated, "name")
            known = manifests.live or kind == "ConfigMap"
            if known and not stated.get("optional") and _is_absent(manifests, workload, kind, name):
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
                f"{text(variable, 'name')} is to be the key {key!r} of ConfigMap/{found.name}, "
                f"which has {there}.",
                f"The pod stays in {_NO_CONFIG}.",
                "Correct the key, or add it to the ConfigMap.",
            )


_NO_CONFIG = "CreateContainerConfigError"


def _volume_sources(workload: Workload) -> Iterator[tuple[Path, str, str]]:
    """Yield where a volume names something, and what; without what may be missing."""
    for place, volume in mappings(workload.pod, "volumes"):
        claim = text(volume, "persistentVolumeClaim", "claimName")
        sources = [("PersistentVolumeClaim", claim, mapping(volume, "persistentVolumeClaim"))]
        for body in (volume, *(one for _, one in mappings(volume, "projected", "sources"))):
            config, secret = mapping(body, "configMap"), mapping(body, "secret")
            sources.append(("ConfigMap", text(config, "name"), config))
            # A volume calls it secretName, a part of a projected one name.
            name = text(secret, "secretName") or text(secret, "name")
            sources.append(("Secret", name, secret))
        for kind, name, stated in sources:
            if name and not stated.get("optional"):
                yield ("volumes", place), kind, name


def _is_absent(manifests: ManifestSet, workload: Workload, kind: str, name: str) -> bool:
    if not name or _READ_AS[kind] in manifests.unread or (kind, name) == _EVERYWHERE:
        return False
    found = manifests.named(kind, workload.namespace, name)
    return found is None and (kind, workload.namespace, name) not in _made(manifests)


def _made(manifests: ManifestSet) -> Iterator[tuple[str, str, str]]:
    """Yield the Secrets that other objects lead to, once they are in a cluster."""
    for one in manifests.of_kind("Certificate", "SealedSecret", "ExternalSecret"):
        stated = text(one.spec, "secretName") or text(one.spec, "target", "name")
        yield "Secret", one.namespace, stated or one.name


def _missing(manifests: ManifestSet, place: Place, kind: str, name: str, state: str) -> Finding:
    return Finding(
        "error" if manifests.live else "warning",
        place,
        f"{kind}/{name} is named here, and "
        + ("the cluster has none." if manifests.live else "was not given."),
        f"Without it the pod stays in {state}.",
        f"Create it before, or correct the name; {kind} and pod have to be in one namespace.",
    )


def _is_token(workload: Workload, name: str) -> bool:
    # In a cluster a pod has this volume only once it is made.
    return name.startswith("kube-api-access-") and workload.manifest.kind == "Pod"


RULES = (
    Rule("CFG01", configuration_missing),
    Rule("VOL01", volume_names_nothing),
    Rule("VOL02", mount_names_nothing),
)
