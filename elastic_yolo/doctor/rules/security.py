"""Rules for pods in namespaces that enforce a Pod Security Standard.

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
_REJECTED = (
    "Its namespace enforces the standard {level}: the API server rejects the pods; only the events "
    "of the ReplicaSet show it."
)


def may_run_as_root(manifests: ManifestSet) -> Iterator[Finding]:
    """SEC01: a container may run as root."""
    for workload, container in _restricted(manifests):
        user = _effective(workload, container, "runAsUser")
        if _effective(workload, container, "runAsNonRoot") is True and user != 0:
            continue
        yield _violation(
            container,
            f"The container {container.name} may run as root"
            f"{' (runAsUser: 0)' if user == 0 else ''}.",
            "Set securityContext: {runAsNonRoot: true}, and a runAsUser above 0 unless the image "
            "has a numeric USER.",
        )


def without_seccomp(manifests: ManifestSet) -> Iterator[Finding]:
    """SEC02: a container has no seccomp profile."""
    for workload, container in _restricted(manifests):
        profile = _effective(workload, container, "seccompProfile")
        if text(profile, "type") not in ("RuntimeDefault", "Localhost"):
            yield _violation(
                container,
                f"The container {container.name} has no seccompProfile.",
                "Set securityContext: {seccompProfile: {type: RuntimeDefault}}, once for the pod.",
            )


def may_escalate(manifests: ManifestSet) -> Iterator[Finding]:
    """SEC03: a container may gain privileges."""
    for _, container in _restricted(manifests):
        if dig(container.body, "securityContext", "allowPrivilegeEscalation") is not False:
            yield _violation(
                container,
                f"The container {container.name} may gain privileges.",
                "Set securityContext: {allowPrivilegeEscalation: false} on the container.",
            )


def keeps_capabilities(manifests: ManifestSet) -> Iterator[Finding]:
    """SEC04: a container keeps or adds capabilities."""
    for _, container in _restricted(manifests):
        stated = mapping(container.body, "securityContext", "capabilities")
        added = set(strings(stated, "add")) - {"NET_BIND_SERVICE"}
        if "ALL" not in strings(stated, "drop") or added:
            more = f", and adds {', '.join(sorted(added))}" if added else ""
            yield _violation(
                container,
                f"The container {container.name} does not drop all capabilities{more}."
                if not added or "ALL" not in strings(stated, "drop")
                else f"The container {container.name} adds {', '.join(sorted(added))}.",
                "Set securityContext: {capabilities: {drop: [ALL]}} on the container; only "
                "NET_BIND_SERVICE may be added.",
            )


def uses_the_host(manifests: ManifestSet) -> Iterator[Finding]:
    """SEC05: a pod uses its node's network, processes, files or ports."""
    for workload in manifests.workloads:
        level = _level(manifests, workload)
        if not level:
            continue
        for what in _host_access(workload, level):
            yield error(
                workload.at(),
                f"The pod {what}.",
                _REJECTED.format(level=level),
                "Remove it, or run the pod in a separate namespace with a lower standard.",
            )


def _host_access(workload: Workload, level: str) -> Iterator[str]:
    """Yield each access to the host that the level does not allow."""
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if workload.pod.get(name) is True:
            yield f"sets {name}"
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
                yield f"uses the host port {port['hostPort']} ({container.name})"


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
    """Return a field of the container's securityContext, or of its pod's."""
    own = dig(container.body, "securityContext", name)
    return dig(workload.pod, "securityContext", name) if own is None else own


def _violation(container: Container, what: str, fix: str) -> Finding:
    return error(container.at("securityContext"), what, _REJECTED.format(level="restricted"), fix)


RULES = (
    Rule("SEC01", may_run_as_root),
    Rule("SEC02", without_seccomp),
    Rule("SEC03", may_escalate),
    Rule("SEC04", keeps_capabilities),
    Rule("SEC05", uses_the_host),
)
