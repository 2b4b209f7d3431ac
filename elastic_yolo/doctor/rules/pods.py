"""What the pods of a cluster say about themselves, and the events about them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from elastic_yolo.doctor.events import last_warning
from elastic_yolo.doctor.finding import Finding, error, warning
from elastic_yolo.doctor.manifest_set import ManifestSet
from elastic_yolo.doctor.manifests import Manifest
from elastic_yolo.doctor.rule import Rule
from elastic_yolo.doctor.values import dig, mapping, mappings, text, whole

_PULL = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName")
_CONFIG = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
_EXITS = {
    1: "an error of the program",
    2: "a wrong setting or wrong usage",
    126: "a command that cannot be executed",
    127: "a command that is not in the image",
    132: "an instruction that this CPU does not have",
    134: "the program gave itself up",
    137: "killed: out of memory, or a probe that failed",
    139: "a crash in compiled code",
    143: "told to stop, mostly by a probe that failed",
}
_PULL_FIX = (
    "For an image built here: ./build_docker.sh --load minikube (or microk8s), and "
    "imagePullPolicy: IfNotPresent. Otherwise correct the name or the tag, or add imagePullSecrets."
)
_MEMORY_FIX = (
    "Raise resources.limits.memory, or let it do less at once (smaller queues, fewer threads, "
    "smaller batches)."
)
_CONFIG_FIX = (
    "Create what it names (ConfigMap, Secret, key) in the pod's namespace, or correct the name."
)
_FIXES = {
    "nsufficient cpu": (
        "Request less CPU, add a node, or stop something else; kubectl describe nodes shows what "
        "is taken."
    ),
    "nsufficient memory": "Request less memory, add a node, or stop something else.",
    "gpu": "No node has a free GPU; is the device plug-in running?",
    "untolerated taint": "Add a toleration, or take the taint away.",
    "unbound immediate PersistentVolumeClaims": (
        "The claim has no volume yet: kubectl get pvc, and look at its storageClassName."
    ),
    "Multi-Attach": "The volume is ReadWriteOnce, and a pod on another node has it.",
    "node affinity": (
        "Correct nodeSelector or affinity: no node has these labels, or the volume is on another."
    ),
}
"""What helps, by a part of what the scheduler or the kubelet says."""


def pending(manifests: ManifestSet) -> Iterator[Finding]:
    """A pod without a node, or without its volume."""

    def look(pod: Manifest) -> tuple[str, str] | None:
        if text(pod.body, "status", "phase") != "Pending" or any(_waiting(pod, *_PULL, *_CONFIG)):
            return None
        for state in pod.conditions("PodScheduled"):
            if text(state, "status") == "False":
                said = text(state, "message") or last_warning(manifests, pod, "FailedScheduling")
                return f"no node takes it: {said or 'no reason is given'}", _help_pending(said)
        said = last_warning(manifests, pod)
        return (f"it does not start: {said}", _help_pending(said)) if said else None

    yield from _each(
        manifests, look, "Pending", "It does no work until that changes.", warned=False
    )


def image_not_pulled(manifests: ManifestSet) -> Iterator[Finding]:
    """A pod whose image does not come."""

    def look(pod: Manifest) -> tuple[str, str] | None:
        for status, state in _waiting(pod, *_PULL):
            said = last_warning(manifests, pod, "Failed") or text(state, "message")
            return (
                f"the image {text(status, 'image')} does not come: {said}".rstrip(": "),
                _PULL_FIX,
            )
        return None

    yield from _each(
        manifests, look, "ImagePullBackOff", "The container is never started.", warned=False
    )


def crashing(manifests: ManifestSet) -> Iterator[Finding]:
    """A container that ends again and again."""

    def look(pod: Manifest) -> tuple[str, str] | None:
        for status, _ in _waiting(pod, "CrashLoopBackOff"):
            ended = mapping(status, "lastState", "terminated")
            if text(ended, "reason") == "OOMKilled":
                return None
            code = whole(ended, "exitCode")
            means = f" ({_EXITS[code]})" if code in _EXITS else ""
            said = " ".join(text(ended, "message").split())
            probe = last_warning(manifests, pod, "Unhealthy")
            what = f"its container {text(status, 'name')} ends with {code}{means}"
            what = "".join([what, f": {said}" if said else "", f"; {probe}" if probe else ""])
            return (
                what,
                (
                    f"kubectl -n {pod.namespace} logs {pod.name} --previous "
                    f"-c {text(status, 'name')} shows its last words."
                ),
            )
        return None

    yield from _each(
        manifests,
        look,
        "CrashLoopBackOff",
        "It is started again after ever longer pauses, up to five minutes.",
        warned=False,
    )


def out_of_memory(manifests: ManifestSet) -> Iterator[Finding]:
    """A container that took more than its limit."""

    def look(pod: Manifest) -> tuple[str, str] | None:
        for status in _statuses(pod):
            for when in ("state", "lastState"):
                if text(status, when, "terminated", "reason") == "OOMKilled":
                    limit = _limit_of(pod, text(status, "name"))
                    name = text(status, "name")
                    what = f"its container {name} was killed because it took more than {limit}"
                    return what, _MEMORY_FIX
        return None

    yield from _each(
        manifests, look, "OOMKilled", "What it worked on is lost, each time.", warned=False
    )


def not_configured(manifests: ManifestSet) -> Iterator[Finding]:
    """A container that cannot be made."""

    def look(pod: Manifest) -> tuple[str, str] | None:
        for status, state in _waiting(pod, *_CONFIG):
            said = text(state, "message") or last_warning(manifests, pod)
            return (
                f"its container {text(status, 'name')} cannot be made: {said}",
                _CONFIG_FIX,
            )
        return None

    yield from _each(
        manifests, look, "CreateContainerConfigError", "It waits until that is there.", warned=False
    )


def not_ready(manifests: ManifestSet) -> Iterator[Finding]:
    """A pod that runs and fails its probe."""

    def look(pod: Manifest) -> tuple[str, str] | None:
        if text(pod.body, "status", "phase") != "Running" or pod.get(
            "metadata", "deletionTimestamp"
        ):
            return None
        ready = [text(one, "status") for one in pod.conditions("Ready")]
        if ready != ["False"] or any(_waiting(pod, "CrashLoopBackOff")):
            return None
        said = last_warning(manifests, pod, "Unhealthy")
        logs = f"kubectl -n {pod.namespace} logs {pod.name} shows what it waits for."
        return (f"it runs and is not ready: {said}", logs) if said else None

    yield from _each(manifests, look, "not ready", "No Service sends requests to it.", warned=True)


def _each(
    manifests: ManifestSet,
    look: Callable[[Manifest], tuple[str, str] | None],
    state: str,
    why: str,
    *,
    warned: bool,
) -> Iterator[Finding]:
    """Yield one finding for all pods of one owner with the same trouble."""
    if not manifests.live:
        return
    groups: dict[object, tuple[Manifest, str, str, int]] = {}
    for pod in manifests.of_kind("Pod"):
        if seen := look(pod):
            owner = (pod.namespace, pod.owners[0] if pod.owners else pod.name)
            first, what, fix, count = groups.get(owner, (pod, *seen, 0))
            groups[owner] = (first, what, fix, count + 1)
    for pod, what, fix, count in groups.values():
        others = f" (and {count - 1} more of the same)" if count > 1 else ""
        say = warning if warned else error
        yield say(pod.at(), f"{state}{others}: {what.rstrip('.')}.", why, fix)


def _statuses(pod: Manifest) -> Iterator[dict[Any, Any]]:
    for group in ("initContainerStatuses", "containerStatuses"):
        for _, status in mappings(pod.body, "status", group):
            yield status


def _waiting(pod: Manifest, *reasons: str) -> Iterator[tuple[dict[Any, Any], dict[Any, Any]]]:
    for status in _statuses(pod):
        state = mapping(status, "state", "waiting")
        if text(state, "reason") in reasons:
            yield status, state


def _limit_of(pod: Manifest, name: str) -> str:
    for _, container in mappings(pod.spec, "containers"):
        limit = dig(container, "resources", "limits", "memory")
        if text(container, "name") == name and limit is not None:
            return f"its limit of {limit}"
    return "the node had left"


def _help_pending(said: str) -> str:
    fits = (fix for part, fix in _FIXES.items() if part in said)
    return next(fits, "kubectl describe pod says more, in its last lines.")


RULES = (
    Rule("POD01", pending),
    Rule("POD02", image_not_pulled),
    Rule("POD03", crashing),
    Rule("POD04", out_of_memory),
    Rule("POD05", not_configured),
    Rule("POD06", not_ready),
)
