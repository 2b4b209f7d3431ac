"""Pods in namespaces that enforce a Pod Security Standard.

Source: Kubernetes, "Pod Security Standards", the policies baseline and restricted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from elastic_yolo.doctor.finding import Finding, error
from elastic_yolo.doctor.manifest_set import ManifestSet
from elastic_yolo.doctor.rule import Rule
from elastic_yolo.doctor.values import dig, mapping, mappings, strings, text, whole
from elastic_yolo.doctor.workload import Container, Workload

_ENFORCE = "pod-security.kubernetes.io/enforce"
# Kinds of volumes that restricted allows.
_VOLUMES = frozenset(
    "configMap csi downwardAPI emptyDir ephemeral persistentVolumeClaim projected secret".split()
)
_ADDED_BASELINE = frozenset(
    """
    AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE SETFCAP SETGID SETPCAP
    SETUID SYS_CHROOT
    """.split()
)
_REFUSED = (
    "Its namespace enforces the standard {level}: the pods are refused, and the Deployment says "
    "so only in the events of its ReplicaSet."
)


def as_root(manifests: ManifestSet) -> Iterator[Finding]:
    """A container that may run as root."""
    for workload, container in _restricted(manifests):
        user = _effective(workload, container, "runAsUser")
        if _effective(workload, container, "runAsNonRoot") is True and user != 0:
            continue
        yield _refused(
            container,
            f"The container {container.name} may run as root"
            f"{' (runAsUser: 0)' if user == 0 else ''}.",
            "securityContext: {runAsNonRoot: true}, and a runAsUser above 0 unless the image names "
            "one by number.",
        )


def without_seccomp(manifests: ManifestSet) -> Iterator[Finding]:
    """A container whose system calls nobody filters."""
    for workload, container in _restricted(manifests):
        profile = _effective(workload, container, "seccompProfile")
        if text(profile, "type") not in ("RuntimeDefault", "Localhost"):
            yield _refused(
                container,
                f"The container {container.name} has no seccompProfile.",
                "securityContext: {seccompProfile: {type: RuntimeDefault}}, best once for the pod.",
            )


def may_escalate(manifests: ManifestSet) -> Iterator[Finding]:
    """A container that may become more than it is."""
    for _, container in _restricted(manifests):
        if dig(container.body, "securityContext", "allowPrivilegeEscalation") is not False:
            yield _refused(
                container,
                f"The container {container.name} may gain privileges.",
                "securityContext: {allowPrivilegeEscalation: false}, on the container.",
            )


def keeps_capabilities(manifests: ManifestSet) -> Iterator[Finding]:
    """A container that keeps what it does not need."""
    for _, container in _restricted(manifests):
        stated = mapping(container.body, "securityContext", "capabilities")
        added = set(strings(stated, "add")) - {"NET_BIND_SERVICE"}
        if "ALL" not in strings(stated, "drop") or added:
            more = f", and adds {', '.join(sorted(added))}" if added else ""
            yield _refused(
                container,
                f"The container {container.name} does not drop all capabilities{more}."
                if not added or "ALL" not in strings(stated, "drop")
                else f"The container {container.name} adds {', '.join(sorted(added))}.",
                "securityContext: {capabilities: {drop: [ALL]}}, on the container; only "
                "NET_BIND_SERVICE may be added.",
            )


def reaches_the_node(manifests: ManifestSet) -> Iterator[Finding]:
    """A pod that is not kept apart from its node."""
    for workload in manifests.workloads:
        level = _level(manifests, workload)
        if not level:
            continue
        for what in _of_the_node(workload, level):
            yield error(
                workload.at(),
                f"The pod {what}.",
                _REFUSED.format(level=level),
                "Do without it, or run the pod in a namespace of its own that enforces less.",
            )


def _of_the_node(workload: Workload, level: str) -> Iterator[str]:
    """Yield what a pod has of its node that the level does not allow."""
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if workload.pod.get(name) is True:
            yield f"has {name}"
    kinds = [kind for _, volume in mappings(workload.pod, "volumes") for kind in volume]
    for kind in kinds:
        allowed = kind in _VOLUMES if level == "restricted" else kind != "hostPath"
        if not allowed and kind != "name":
            yield f"has a volume of the kind {kind}"
    for container in workload.all_containers:
        if dig(container.body, "securityContext", "privileged") is True:
            yield f"has a privileged container ({container.name})"
        added = set(strings(container.body, "securityContext", "capabilities", "add"))
        if level == "baseline" and (more := sorted(added - _ADDED_BASELINE)):
            yield f"adds {', '.join(more)} to {container.name}"
        for _, port in mappings(container.body, "ports"):
            if whole(port, "hostPort"):
                yield f"takes the port {port['hostPort']} of its node ({container.name})"


def _restricted(manifests: ManifestSet) -> Iterator[tuple[Workload, Container]]:
    for workload in manifests.workloads:
        if _level(manifests, workload) == "restricted":
            for container in workload.all_containers:
                yield workload, container


def _level(manifests: ManifestSet, workload: Workload) -> str:
    namespace = manifests.named("Namespace", "default", workload.namespace)
    labels = {} if namespace is None else mapping(namespace.body, "metadata", "labels")
    level = labels.get(_ENFORCE)
    return level if level in ("baseline", "restricted") else ""


def _effective(workload: Workload, container: Container, name: str) -> Any:
    """Return a setting of a container, or that of its pod."""
    own = dig(container.body, "securityContext", name)
    return dig(workload.pod, "securityContext", name) if own is None else own


def _refused(container: Container, what: str, fix: str) -> Finding:
    return error(container.at("securityContext"), what, _REFUSED.format(level="restricted"), fix)


RULES = (
    Rule("SEC01", as_root),
    Rule("SEC02", without_seccomp),
    Rule("SEC03", may_escalate),
    Rule("SEC04", keeps_capabilities),
    Rule("SEC05", reaches_the_node),
)
