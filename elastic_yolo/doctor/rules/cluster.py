"""Rules for the status of Deployments and claims in a cluster, and for unreadable resources."""

from __future__ import annotations

from collections.abc import Iterator

from elastic_yolo.doctor.events import last_warning
from elastic_yolo.doctor.finding import Finding, Place, error, warning
from elastic_yolo.doctor.manifest_set import ManifestSet
from elastic_yolo.doctor.rule import Rule
from elastic_yolo.doctor.values import mappings, text

_NO_CLASS = "no storageClassName, and no default class"


def rollout_failed(manifests: ManifestSet) -> Iterator[Finding]:
    """DEP03: a rollout is stuck."""
    for one in manifests.of_kind("Deployment") if manifests.live else ():
        for _, state in mappings(one.body, "status", "conditions"):
            kind, status = text(state, "type"), text(state, "status")
            if (kind, status) in (("Progressing", "False"), ("ReplicaFailure", "True")):
                yield error(
                    one.at("status"),
                    f"The rollout is stuck: {text(state, 'reason')}: "
                    f"{text(state, 'message').rstrip('.')}.",
                    "Old pods keep serving, if there are any; the change is not deployed.",
                    f"kubectl -n {one.namespace} rollout status deployment/{one.name} shows "
                    "progress; kubectl rollout undo returns to the previous version.",
                )


def claim_pending(manifests: ManifestSet) -> Iterator[Finding]:
    """PVC03: a claim stays Pending."""
    for claim in manifests.of_kind("PersistentVolumeClaim") if manifests.live else ():
        message = last_warning(manifests, claim)
        unclassed = not text(claim.spec, "storageClassName") and not text(claim.spec, "volumeName")
        if text(claim.body, "status", "phase") != "Pending" or not (message or unclassed):
            continue
        yield error(
            claim.at("status"),
            f"The claim is Pending: {(message or _NO_CLASS).rstrip('.')}.",
            "Every pod that mounts it stays Pending.",
            "Set a storageClassName from kubectl get storageclass, and an access mode that it "
            "supports; minikube and microk8s need their storage add-on.",
        )


def unread_resources(manifests: ManifestSet) -> Iterator[Finding]:
    """CLU01: the cluster denies access to some resources."""
    if manifests.unread:
        yield warning(
            Place("Cluster"),
            f"No permission to list {', '.join(sorted(manifests.unread))}.",
            "Rules that need these resources were skipped.",
            "Use an account whose role has the verbs get and list for them.",
        )


RULES = (
    Rule("DEP03", rollout_failed),
    Rule("PVC03", claim_pending),
    Rule("CLU01", unread_resources),
)
