"""Claims: who may mount them at once."""

from __future__ import annotations

from collections.abc import Iterator

from elastic_yolo.doctor.finding import Finding, Severity, warning
from elastic_yolo.doctor.manifest_set import ManifestSet
from elastic_yolo.doctor.manifests import Manifest
from elastic_yolo.doctor.rule import Rule
from elastic_yolo.doctor.values import mappings, strings, text, whole
from elastic_yolo.doctor.workload import Workload


def shared_without_a_class(manifests: ManifestSet) -> Iterator[Finding]:
    """ReadWriteMany, of whatever class is the default."""
    for claim in manifests.of_kind("PersistentVolumeClaim") if not manifests.live else ():
        if "ReadWriteMany" in strings(claim.spec, "accessModes") and not (
            text(claim.spec, "storageClassName") or text(claim.spec, "volumeName")
        ):
            yield warning(
                claim.at("spec", "accessModes"),
                f"PersistentVolumeClaim/{claim.name} is ReadWriteMany, and names no "
                "storageClassName.",
                "The default class of most clusters (EBS, Persistent Disk, Azure Disk) makes "
                "volumes for one node: the claim stays Pending, and with it every pod that mounts "
                "it.",
                "Name a class that many nodes can mount (NFS, CephFS, EFS, Filestore, Azure Files),"
                " or that of the one node (minikube: standard, microk8s: microk8s-hostpath).",
            )


def one_node_for_many_pods(manifests: ManifestSet) -> Iterator[Finding]:
    """ReadWriteOnce, mounted by more pods than one."""
    nodes = [one for one in manifests.of_kind("Node") if not one.spec.get("unschedulable")]
    for claim in manifests.of_kind("PersistentVolumeClaim"):
        modes = strings(claim.spec, "accessModes")
        only_one = "ReadWriteOncePod" in modes
        if not modes or {"ReadWriteMany", "ReadOnlyMany"} & set(modes):
            continue
        users = [one for one in manifests.workloads if _mounts(one, claim)]
        lasting = [one for one in users if _pods(manifests, one) > 0]
        if sum(_pods(manifests, one) for one in lasting) < 2:
            continue
        several = " and ".join(f"{one.manifest.kind}/{one.manifest.name}" for one in lasting)
        many = max(_pods(manifests, one) for one in lasting)
        count = f", up to {many} pods of one" if many > 1 else ""
        severity: Severity = "error" if only_one or len(nodes) > 1 else "warning"
        yield Finding(
            severity,
            claim.at("spec", "accessModes"),
            f"PersistentVolumeClaim/{claim.name} is {modes[0]}, and {several} mount"
            f"{'s' if len(lasting) == 1 else ''} it{count}.",
            "Only one pod may have it: all others stay Pending."
            if only_one
            else "Pods on a second node stay in ContainerCreating (Multi-Attach error): it does "
            "not scale beyond one node.",
            "ReadWriteMany with a class that has it; or a claim for each pod, with a StatefulSet's "
            "volumeClaimTemplates.",
        )


def _mounts(workload: Workload, claim: Manifest) -> bool:
    return workload.namespace == claim.namespace and claim.name in [
        text(volume, "persistentVolumeClaim", "claimName")
        for _, volume in mappings(workload.pod, "volumes")
    ]


def _pods(manifests: ManifestSet, workload: Workload) -> int:
    """Return how many pods there may be at once; jobs come and go, and count as none."""
    match workload.manifest.kind:
        case "Job" | "CronJob":
            return 0
        case "DaemonSet":
            # One a node.
            return 2
        case "Pod":
            return 1
        case _:
            stated = whole(workload.manifest.spec, "replicas")
            return max(manifests.max_replicas(workload), 1 if stated is None else stated)


RULES = (
    Rule("PVC01", shared_without_a_class),
    Rule("PVC02", one_node_for_many_pods),
)
