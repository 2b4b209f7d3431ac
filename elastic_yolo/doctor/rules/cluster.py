"""What other objects of a cluster say about themselves, and what it did not show."""

from __future__ import annotations

from collections.abc import Iterator

from elastic_yolo.doctor.events import last_warning
from elastic_yolo.doctor.finding import Finding, Place, error, warning
from elastic_yolo.doctor.manifest_set import ManifestSet
from elastic_yolo.doctor.rule import Rule
from elastic_yolo.doctor.values import mappings, text


def rollout_failed(manifests: ManifestSet) -> Iterator[Finding]:
    """A Deployment that does not get as far as its manifest says."""
    for one in manifests.of_kind("Deployment") if manifests.live else ():
        for _, state in mappings(one.body, "status", "conditions"):
            kind, status = text(state, "type"), text(state, "status")
            if (kind, status) in (("Progressing", "False"), ("ReplicaFailure", "True")):
                yield error(
                    one.at("status"),
                    f"The rollout does not go on: {text(state, 'reason')}: "
                    f"{text(state, 'message').rstrip('.')}.",
                    "Old pods go on, if there are any; what was changed is not served.",
                    f"kubectl -n {one.namespace} rollout status deployment/{one.name}; kubectl "
                    "rollout undo goes back.",
                )


def claim_pending(manifests: ManifestSet) -> Iterator[Finding]:
    """A claim that gets no volume."""
    for claim in manifests.of_kind("PersistentVolumeClaim") if manifests.live else ():
        said = last_warning(manifests, claim)
        unclassed = not text(claim.spec, "storageClassName") and not text(claim.spec, "volumeName")
        if text(claim.body, "status", "phase") != "Pending" or not (said or unclassed):
            continue
        yield error(
            claim.at("status"),
            f"The claim is Pending: {said or 'it has no class, and none is the default'}.".replace(
                "..", "."
            ),
            "Every pod that mounts it stays Pending.",
            "Name a storageClassName that kubectl get storageclass shows, and an access mode that "
            "it has; minikube and microk8s need their storage add-on.",
        )


def not_shown(manifests: ManifestSet) -> Iterator[Finding]:
    """Resources that could not be read."""
    if manifests.unread:
        yield warning(
            Place("Cluster"),
            f"The cluster does not show {', '.join(sorted(manifests.unread))}.",
            "What is wrong there was not looked for.",
            "Ask for a role that may get and list them, or ask somebody who has one.",
        )


RULES = (
    Rule("DEP03", rollout_failed),
    Rule("PVC03", claim_pending),
    Rule("CLU01", not_shown),
)
