"""Rules for the status of a cluster's pods, and their events."""

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
    2: "an invalid setting or wrong usage",
    126: "a command that cannot be executed",
    127: "a command that is not in the image",
    132: "an instruction that this CPU does not have",
    134: "aborted by the program itself",
    137: "killed: out of memory, or a failed probe",
    139: "a crash in compiled code",
    143: "stopped, mostly because of a failed probe",
}
_PULL_FIX = (
    "For a locally built image: ./build_docker.sh --load minikube (or microk8s), and "
    "imagePullPolicy: IfNotPresent. Otherwise correct the name or the tag, or add imagePullSecrets."
)
_MEMORY_FIX = (
    "Raise resources.limits.memory, or reduce concurrent work (smaller queues, fewer threads, "
    "smaller batches)."
)
_CONFIG_FIX = "Create the ConfigMap, Secret or key in the pod's namespace, or correct the name."
_FIXES = {
    "nsufficient cpu": (
        "Request less CPU, add a node, or stop another pod; kubectl describe nodes shows what is "
        "allocated."
    ),
    "nsufficient memory": "Request less memory, add a node, or stop another pod.",
    "gpu": "No node has a free GPU; is the device plug-in running?",
    "untolerated taint": "Add a toleration, or remove the taint.",
    "unbound immediate PersistentVolumeClaims": (
        "The claim has no volume yet: check kubectl get pvc and its storageClassName."
    ),
    "Multi-Attach": "The volume is ReadWriteOnce, and a pod on another node has it.",
    "node affinity": (
        "Correct nodeSelector or affinity: no node has these labels, or the volume is on another "
        "node."
    ),
}
"""What to do, by a part of the message of the scheduler or the kubelet."""


def pending(manifests: ManifestSet) -> Iterator[Finding]:
    """POD01: a pod without a node, or without its volume."""

    def describe(pod: Manifest) -> tuple[str, str] | None:
        if text(pod.body, "status", "phase") != "Pending" or any(_waiting(pod, *_PULL, *_CONFIG)):
            return None
        for state in pod.conditions("PodScheduled"):
            if text(state, "status") == "False":
                message = text(state, "message") or last_warning(manifests, pod, "FailedScheduling")
                return f"no node can run it: {message or 'no reason reported'}", _fix_pending(
                    message
                )
        message = last_warning(manifests, pod)
        return (f"it cannot start: {message}", _fix_pending(message)) if message else None

    yield from _each(
        manifests, describe, "Pending", "The pod does no work until this is resolved.", warned=False
    )


def image_not_pulled(manifests: ManifestSet) -> Iterator[Finding]:
    """POD02: an image cannot be pulled."""

    def describe(pod: Manifest) -> tuple[str, str] | None:
        for status, state in _waiting(pod, *_PULL):
            message = last_warning(manifests, pod, "Failed") or text(state, "message")
            return (
                f"the image {text(status, 'image')} cannot be pulled: {message}".rstrip(": "),
                _PULL_FIX,
            )
        return None

    yield from _each(
        manifests, describe, "ImagePullBackOff", "The container never starts.", warned=False
    )


def crashing(manifests: ManifestSet) -> Iterator[Finding]:
    """POD03: a container exits again and again."""

    def describe(pod: Manifest) -> tuple[str, str] | None:
        for status, _ in _waiting(pod, "CrashLoopBackOff"):
            ended = mapping(status, "lastState", "terminated")
            if text(ended, "reason") == "OOMKilled":
                return None
            code = whole(ended, "exitCode")
            means = f" ({_EXITS[code]})" if code in _EXITS else ""
            message = " ".join(text(ended, "message").split())
            probe = last_warning(manifests, pod, "Unhealthy")
            what = f"its container {text(status, 'name')} exits with {code}{means}"
            what = "".join([what, f": {message}" if message else "", f"; {probe}" if probe else ""])
            return (
                what,
                (
                    f"kubectl -n {pod.namespace} logs {pod.name} --previous "
                    f"-c {text(status, 'name')} shows its last output."
                ),
            )
        return None

    yield from _each(
        manifests,
        describe,
        "CrashLoopBackOff",
        "Kubernetes restarts it after increasing delays of up to five minutes.",
        warned=False,
    )


def out_of_memory(manifests: ManifestSet) -> Iterator[Finding]:
    """POD04: a container was killed for its use of memory."""

    def describe(pod: Manifest) -> tuple[str, str] | None:
        for status in _statuses(pod):
            for when in ("state", "lastState"):
                if text(status, when, "terminated", "reason") == "OOMKilled":
                    limit = _limit_of(pod, text(status, "name"))
                    name = text(status, "name")
                    what = f"its container {name} was killed for using more memory than {limit}"
                    return what, _MEMORY_FIX
        return None

    yield from _each(
        manifests,
        describe,
        "OOMKilled",
        "Each time, its requests in flight are lost.",
        warned=False,
    )


def not_configured(manifests: ManifestSet) -> Iterator[Finding]:
    """POD05: a container cannot be created."""

    def describe(pod: Manifest) -> tuple[str, str] | None:
        for status, state in _waiting(pod, *_CONFIG):
            message = text(state, "message") or last_warning(manifests, pod)
            return (
                f"its container {text(status, 'name')} cannot be created: {message}",
                _CONFIG_FIX,
            )
        return None

    yield from _each(
        manifests,
        describe,
        "CreateContainerConfigError",
        "The pod waits until it exists.",
        warned=False,
    )


def not_ready(manifests: ManifestSet) -> Iterator[Finding]:
    """POD06: a running pod fails its readinessProbe."""

    def describe(pod: Manifest) -> tuple[str, str] | None:
        if text(pod.body, "status", "phase") != "Running" or pod.get(
            "metadata", "deletionTimestamp"
        ):
            return None
        ready = [text(one, "status") for one in pod.conditions("Ready")]
        if ready != ["False"] or any(_waiting(pod, "CrashLoopBackOff")):
            return None
        message = last_warning(manifests, pod, "Unhealthy")
        logs = f"kubectl -n {pod.namespace} logs {pod.name} shows the cause."
        return (f"it is running but not ready: {message}", logs) if message else None

    yield from _each(
        manifests, describe, "not ready", "No Service sends requests to it.", warned=True
    )


def _each(
    manifests: ManifestSet,
    describe: Callable[[Manifest], tuple[str, str] | None],
    state: str,
    why: str,
    *,
    warned: bool,
) -> Iterator[Finding]:
    """Yield one finding for all pods of one owner in the same state."""
    if not manifests.live:
        return
    groups: dict[object, tuple[Manifest, str, str, int]] = {}
    for pod in manifests.of_kind("Pod"):
        if seen := describe(pod):
            owner = (pod.namespace, pod.owners[0] if pod.owners else pod.name)
            first, what, fix, count = groups.get(owner, (pod, *seen, 0))
            groups[owner] = (first, what, fix, count + 1)
    for pod, what, fix, count in groups.values():
        others = f" (and {count - 1} more of the same owner)" if count > 1 else ""
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
    shared = dig(pod.spec, "resources", "limits", "memory")
    if shared is not None:
        return f"its pod's limit of {shared}"
    return "the node had available"


def _fix_pending(message: str) -> str:
    fits = (fix for part, fix in _FIXES.items() if part in message)
    return next(fits, "The last lines of kubectl describe pod show the cause.")


RULES = (
    Rule("POD01", pending),
    Rule("POD02", image_not_pulled),
    Rule("POD03", crashing),
    Rule("POD04", out_of_memory),
    Rule("POD05", not_configured),
    Rule("POD06", not_ready),
)
