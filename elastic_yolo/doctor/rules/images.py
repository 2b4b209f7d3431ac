"""Rules for the names and tags of images."""

from __future__ import annotations

import re
from collections.abc import Iterator

from elastic_yolo.doctor.finding import Finding, error, warning
from elastic_yolo.doctor.manifest_set import ManifestSet
from elastic_yolo.doctor.rule import Rule
from elastic_yolo.doctor.values import text
from elastic_yolo.doctor.workload import Container

# Built by build_docker.sh; they are in no public registry.
_BUILT_HERE = re.compile(r"elastic-yolo/(web|preprocess|inference(-gpu)?|tools|batch|stream)")


def pulled_without_registry(manifests: ManifestSet) -> Iterator[Finding]:
    """IMG01: an image without a registry is always pulled, so from Docker Hub."""
    for container in manifests.containers:
        if not container.image or has_registry(container.image) or policy_of(container) != "Always":
            continue
        built = _BUILT_HERE.fullmatch(repository_of(container.image))
        implied = (
            "" if text(container.body, "imagePullPolicy") else (", the default for the tag latest")
        )
        yield (error if built else warning)(
            container.at("imagePullPolicy" if not implied else "image"),
            f"{container.image} has no registry in its name, and imagePullPolicy is Always"
            f"{implied}.",
            "The node pulls it from Docker Hub each time a pod starts. An image that was built "
            "locally and loaded into minikube or microk8s is not there: ErrImagePull.",
            "For a loaded image set imagePullPolicy: IfNotPresent; for a pushed one use a tag "
            "other than latest, or the full name with its registry.",
        )


def floating_tag(manifests: ManifestSet) -> Iterator[Finding]:
    """IMG02: an image of a registry has the tag latest or none."""
    for container in manifests.containers:
        image = container.image
        if image and has_registry(image) and tag_of(image) in ("", "latest"):
            yield warning(
                container.at("image"),
                f"{image} has no fixed version.",
                "Pods of one Deployment may run different images, a push starts no rollout, and "
                "there is no version to roll back to.",
                "Use a version tag or a digest (@sha256:...).",
            )


def registry_forgotten(manifests: ManifestSet) -> Iterator[Finding]:
    """IMG03: one image of a group has no registry, while the others have one."""
    groups = {
        parts[1]: container.image
        for container in manifests.containers
        if has_registry(container.image)
        and len(parts := repository_of(container.image).split("/")) > 2
        # A name without a registry means Docker Hub.
        and not parts[0].endswith("docker.io")
    }
    for container in manifests.containers:
        group, slash, _ = repository_of(container.image).partition("/")
        if slash and not has_registry(container.image) and group in groups:
            yield warning(
                container.at("image"),
                f"{container.image} has no registry in its name; {groups[group]} has one.",
                "The others are pulled from that registry, this one from Docker Hub: "
                "ImagePullBackOff.",
                "Add the same registry; in kustomize, add an entry under images.",
            )


def has_registry(image: str) -> bool:
    """Return whether a name begins with a host, by the rule of container engines."""
    first, slash, _ = image.partition("/")
    return bool(slash) and ("." in first or ":" in first or first == "localhost")


def repository_of(image: str) -> str:
    """Return an image's name without tag and digest."""
    name = image.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"


def tag_of(image: str) -> str:
    """Return the digest, or the tag, or an empty string."""
    name, _, digest = image.partition("@")
    return digest or name.rpartition("/")[2].partition(":")[2]


def policy_of(container: Container) -> str:
    """Return imagePullPolicy or its default: Always for latest or no tag, else IfNotPresent."""
    stated = text(container.body, "imagePullPolicy")
    return stated or ("Always" if tag_of(container.image) in ("", "latest") else "IfNotPresent")


RULES = (
    Rule("IMG01", pulled_without_registry),
    Rule("IMG02", floating_tag),
    Rule("IMG03", registry_forgotten),
)
