"""Rules for the access modes of PersistentVolumeClaims."""

from __future__ import annotations

from collections.abc import Iterator

from elastic_yolo.doctor.finding import Finding, Severity, warning
from elastic_yolo.doctor.manifest_set import ManifestSet
from elastic_yolo.doctor.manifests import Manifest
from elastic_yolo.doctor.rule import Rule
from elastic_yolo.doctor.values import mappings, strings, text, whole
from elastic_yolo.doctor.workload import Workload


def rwx_without_class(manifests: ManifestSet) -> Iterator[Finding]:
    """PVC01: ReadWriteMany without a storageClassName."""
    for claim in manifests.of_kind("PersistentVolumeClaim") if not manifests.live else ():
        if "ReadWriteMany" in strings(claim.spec, "accessModes") and not (
            text(claim.spec, "storageClassName") or text(claim.spec, "volumeName")
        ):
            yield warning(
                claim.at("spec", "accessModes"),
                f"PersistentVolumeClaim/{claim.name} is ReadWriteMany, without a storageClassName.",
                "The default class of most clusters (EBS, Persistent Disk, Azure Disk) supports "
                "one node only: the claim and every pod that mounts it stay Pending.",
                "Set a class that several nodes can mount (NFS, CephFS, EFS, Filestore, Azure "
                "Files), or that of a single node (minikube: standard, microk8s: "
                "microk8s-hostpath).",
            )


def rwo_for_many_pods(manifests: ManifestSet) -> Iterator[Finding]:
    """PVC02: several pods mount a ReadWriteOnce claim."""
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
            "A single pod can mount it; all others stay Pending."
            if only_one
            else "Pods on a second node stay in ContainerCreating (Multi-Attach error): the "
            "workload cannot scale beyond one node.",
            "Use ReadWriteMany with a class that supports it, or one claim per pod, with a "
            "StatefulSet's volumeClaimTemplates.",
        )


def _mounts(workload: Workload, claim: Manifest) -> bool:
    return workload.namespace == claim.namespace and claim.name in [
        text(volume, "persistentVolumeClaim", "claimName")
        for _, volume in mappings(workload.pod, "volumes")
    ]


def _pods(manifests: ManifestSet, workload: Workload) -> int:
    """Return the maximum of concurrent pods; jobs are short-lived and count as 0."""
    match workload.manifest.kind:
        case "Job" | "CronJob":
            return 0
        case "DaemonSet":
            # One per node.
            return 2
        case "Pod":
            return 1
        case _:
            stated = whole(workload.manifest.spec, "replicas")
            return max(manifests.max_replicas(workload), 1 if stated is None else stated)


RULES = (
    Rule("PVC01", rwx_without_class),
    Rule("PVC02", rwo_for_many_pods),
)
