"""Which API versions serve the kinds of Kubernetes, and which kinds can be scaled.

Sources: Kubernetes, "API Reference" and "Deprecated API Migration Guide".
"""

from __future__ import annotations

_V1 = {
    "v1": "ConfigMap Endpoints LimitRange Namespace Node PersistentVolume PersistentVolumeClaim "
    "Pod ReplicationController ResourceQuota Secret Service ServiceAccount",
    "apps/v1": "ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet",
    "batch/v1": "CronJob Job",
    "policy/v1": "PodDisruptionBudget",
    "networking.k8s.io/v1": "Ingress IngressClass NetworkPolicy",
    "rbac.authorization.k8s.io/v1": "ClusterRole ClusterRoleBinding Role RoleBinding",
    "storage.k8s.io/v1": "CSIDriver CSINode StorageClass VolumeAttachment",
    "scheduling.k8s.io/v1": "PriorityClass",
    "coordination.k8s.io/v1": "Lease",
    "apiextensions.k8s.io/v1": "CustomResourceDefinition",
}
SERVED: dict[str, tuple[str, ...]] = {
    "HorizontalPodAutoscaler": ("autoscaling/v2", "autoscaling/v1"),
    **{kind: (version,) for version, kinds in _V1.items() for kind in kinds.split()},
}
"""The API versions of common kinds, the preferred one first."""

SCALABLE = ("Deployment", "StatefulSet", "ReplicaSet", "ReplicationController")
"""The kinds of Kubernetes that have the subresource `scale`."""

# Source: Kubernetes, "Deprecated API Migration Guide". The version that serves a kind now, and
# the Kubernetes that removed the old one; an empty kind stands for all others of a version.
_REMOVED: dict[tuple[str, str], tuple[str, str]] = {
    ("extensions/v1beta1", "Ingress"): ("networking.k8s.io/v1", "1.22"),
    ("extensions/v1beta1", "NetworkPolicy"): ("networking.k8s.io/v1", "1.16"),
    ("extensions/v1beta1", "PodSecurityPolicy"): ("", "1.16"),
    ("extensions/v1beta1", ""): ("apps/v1", "1.16"),
    ("apps/v1beta1", ""): ("apps/v1", "1.16"),
    ("apps/v1beta2", ""): ("apps/v1", "1.16"),
    ("autoscaling/v2beta1", ""): ("autoscaling/v2", "1.25"),
    ("autoscaling/v2beta2", ""): ("autoscaling/v2", "1.26"),
    ("batch/v2alpha1", ""): ("batch/v1", "1.21"),
    ("batch/v1beta1", ""): ("batch/v1", "1.25"),
    ("networking.k8s.io/v1beta1", "Ingress"): ("networking.k8s.io/v1", "1.22"),
    ("networking.k8s.io/v1beta1", "IngressClass"): ("networking.k8s.io/v1", "1.22"),
    ("policy/v1beta1", "PodDisruptionBudget"): ("policy/v1", "1.25"),
    ("policy/v1beta1", "PodSecurityPolicy"): ("", "1.25"),
    ("rbac.authorization.k8s.io/v1beta1", ""): ("rbac.authorization.k8s.io/v1", "1.22"),
    ("storage.k8s.io/v1beta1", "CSIDriver"): ("storage.k8s.io/v1", "1.22"),
    ("storage.k8s.io/v1beta1", "CSINode"): ("storage.k8s.io/v1", "1.22"),
    ("storage.k8s.io/v1beta1", "StorageClass"): ("storage.k8s.io/v1", "1.22"),
    ("storage.k8s.io/v1beta1", "VolumeAttachment"): ("storage.k8s.io/v1", "1.22"),
    ("storage.k8s.io/v1beta1", "CSIStorageCapacity"): ("storage.k8s.io/v1", "1.27"),
    ("apiextensions.k8s.io/v1beta1", ""): ("apiextensions.k8s.io/v1", "1.22"),
    ("apiregistration.k8s.io/v1beta1", ""): ("apiregistration.k8s.io/v1", "1.22"),
    ("authentication.k8s.io/v1beta1", "TokenReview"): ("authentication.k8s.io/v1", "1.22"),
    ("authorization.k8s.io/v1beta1", ""): ("authorization.k8s.io/v1", "1.22"),
    ("certificates.k8s.io/v1beta1", "CertificateSigningRequest"): (
        "certificates.k8s.io/v1", "1.22"),
    ("coordination.k8s.io/v1beta1", "Lease"): ("coordination.k8s.io/v1", "1.22"),
    ("scheduling.k8s.io/v1beta1", "PriorityClass"): ("scheduling.k8s.io/v1", "1.22"),
    ("admissionregistration.k8s.io/v1beta1", "MutatingWebhookConfiguration"): (
        "admissionregistration.k8s.io/v1", "1.22"),
    ("admissionregistration.k8s.io/v1beta1", "ValidatingWebhookConfiguration"): (
        "admissionregistration.k8s.io/v1", "1.22"),
    ("discovery.k8s.io/v1beta1", "EndpointSlice"): ("discovery.k8s.io/v1", "1.25"),
    ("events.k8s.io/v1beta1", "Event"): ("events.k8s.io/v1", "1.25"),
    ("node.k8s.io/v1beta1", "RuntimeClass"): ("node.k8s.io/v1", "1.25"),
    ("flowcontrol.apiserver.k8s.io/v1beta1", ""): ("flowcontrol.apiserver.k8s.io/v1", "1.26"),
    ("flowcontrol.apiserver.k8s.io/v1beta2", ""): ("flowcontrol.apiserver.k8s.io/v1", "1.29"),
    ("flowcontrol.apiserver.k8s.io/v1beta3", ""): ("flowcontrol.apiserver.k8s.io/v1", "1.32"),
}  # fmt: skip


def group_of(version: str) -> str:
    """Return the group of an apiVersion; "" is the core group, as of `v1`."""
    return version.rpartition("/")[0]


def is_custom(group: str) -> bool:
    """Return whether a group is one of custom resources, such as `argoproj.io`."""
    return "." in group and not group.endswith(".k8s.io")


def removal_of(version: str, kind: str) -> tuple[str, str] | None:
    """Return the version that serves a kind now ("" for none), and which Kubernetes removed this.

    None if this one was not removed.
    """
    return _REMOVED.get((version, kind), _REMOVED.get((version, "")))


def correct_kind(kind: str) -> str | None:
    """Return the kind that was meant by another case or by a plural, such as `deployments`."""
    plain = {name.lower(): name for name in SERVED}
    lower = kind.lower()
    return plain.get(lower) or plain.get(lower.removesuffix("s"))
