"""Where images come from."""

from __future__ import annotations

import re
from collections.abc import Iterator

from elastic_yolo.doctor.finding import Finding, error, warning
from elastic_yolo.doctor.manifest_set import ManifestSet
from elastic_yolo.doctor.rule import Rule
from elastic_yolo.doctor.values import text
from elastic_yolo.doctor.workload import Container

# What build_docker.sh builds; nobody keeps them in a registry that is asked by default.
_BUILT_HERE = re.compile(r"elastic-yolo/(web|preprocess|inference(-gpu)?|tools)")


def asked_of_a_registry(manifests: ManifestSet) -> Iterator[Finding]:
    """An image that was loaded into the node, and is looked for elsewhere."""
    for container in manifests.containers:
        if not container.image or has_registry(container.image) or policy_of(container) != "Always":
            continue
        built = _BUILT_HERE.fullmatch(repository_of(container.image))
        implied = (
            ""
            if text(container.body, "imagePullPolicy")
            else (", which is what no imagePullPolicy means with the tag latest")
        )
        yield (error if built else warning)(
            container.at("imagePullPolicy" if not implied else "image"),
            f"{container.image} has no registry in its name, and imagePullPolicy is Always"
            f"{implied}.",
            "The node asks Docker Hub each time a pod starts. An image that was built here and "
            "loaded into minikube or microk8s is not there: ErrImagePull.",
            "imagePullPolicy: IfNotPresent for an image that was loaded; a tag other than latest, "
            "or the full name with its registry, for one that was pushed.",
        )


def no_telling_tag(manifests: ManifestSet) -> Iterator[Finding]:
    """A tag that is latest, of a registry."""
    for container in manifests.containers:
        image = container.image
        if image and has_registry(image) and tag_of(image) in ("", "latest"):
            yield warning(
                container.at("image"),
                f"{image} has no tag that says which one it is.",
                "Pods of one Deployment may run different images, a rollout does not happen when "
                "a new one is pushed, and there is nothing to roll back to.",
                "Name a version, or a digest (@sha256:...).",
            )


def left_behind(manifests: ManifestSet) -> Iterator[Finding]:
    """Most images moved to a registry, and one forgotten."""
    groups = {
        parts[1]: container.image
        for container in manifests.containers
        if has_registry(container.image)
        and len(parts := repository_of(container.image).split("/")) > 2
        # Names without a registry mean that one.
        and not parts[0].endswith("docker.io")
    }
    for container in manifests.containers:
        group, slash, _ = repository_of(container.image).partition("/")
        if slash and not has_registry(container.image) and group in groups:
            yield warning(
                container.at("image"),
                f"{container.image} has no registry in its name; {groups[group]} has one.",
                "Where the others are pulled from that registry, this one is asked of Docker Hub: "
                "ImagePullBackOff.",
                "Give it the same registry; in kustomize that is one more line under images.",
            )


def has_registry(image: str) -> bool:
    """Tell whether a name begins with a host, as container engines decide it."""
    first, slash, _ = image.partition("/")
    return bool(slash) and ("." in first or ":" in first or first == "localhost")


def repository_of(image: str) -> str:
    """Return an image's name without tag and digest."""
    name = image.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"


def tag_of(image: str) -> str:
    """Return the tag, the digest if it has that, or nothing."""
    name, _, digest = image.partition("@")
    return digest or name.rpartition("/")[2].partition(":")[2]


def policy_of(container: Container) -> str:
    """Return the policy that counts: latest, and no tag, mean Always where none is stated."""
    stated = text(container.body, "imagePullPolicy")
    return stated or ("Always" if tag_of(container.image) in ("", "latest") else "IfNotPresent")


RULES = (
    Rule("IMG01", asked_of_a_registry),
    Rule("IMG02", no_telling_tag),
    Rule("IMG03", left_behind),
)
