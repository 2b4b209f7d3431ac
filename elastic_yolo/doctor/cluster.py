"""The objects of a live cluster, by `kubectl get`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence

from elastic_yolo.doctor.errors import KubectlFailed
from elastic_yolo.doctor.manifest_set import ManifestSet
from elastic_yolo.doctor.manifests import Manifest, flatten

_TIMEOUT_S = 60
_REQUEST_TIMEOUT_S = 20
NAMESPACED = (
    "deployments.apps", "statefulsets.apps", "daemonsets.apps", "replicasets.apps", "jobs.batch",
    "cronjobs.batch", "pods", "services", "configmaps", "persistentvolumeclaims",
    "horizontalpodautoscalers.autoscaling", "poddisruptionbudgets.policy",
    "networkpolicies.networking.k8s.io", "ingresses.networking.k8s.io", "limitranges", "events",
    "resourcequotas", "scaledobjects.keda.sh", "verticalpodautoscalers.autoscaling.k8s.io",
    "rollouts.argoproj.io",
)  # fmt: skip
WIDE = ("namespaces", "nodes", "apiservices.apiregistration.k8s.io")
# Of other namespaces: what rules look up and do not examine, each under the name for `unread`.
PODS_ELSEWHERE = "pods of all namespaces"
SYSTEM = "objects of kube-system"
ELSEWHERE = {
    PODS_ELSEWHERE: (
        "pods",
        "--all-namespaces",
        "--field-selector=status.phase!=Succeeded,status.phase!=Failed",
    ),
    SYSTEM: (
        "deployments.apps/metrics-server",
        "configmaps/coredns",
        "configmaps/node-local-dns",
        "--namespace=kube-system",
        "--ignore-not-found",
    ),
}


def read_cluster(
    kubectl: Sequence[str], namespace: str | None, progress: Callable[[str, int, int], None]
) -> ManifestSet:
    """Read the objects that the rules need; without `namespace`, those of kubectl's current one.

    Raises KubectlFailed if the cluster is unavailable.
    """
    where = [] if namespace is None else ["--namespace", namespace]
    manifests: list[Manifest] = []
    unread: set[str] = set()
    requested = [*((one, where) for one in NAMESPACED), *((one, []) for one in WIDE)]
    total = len(requested) + len(ELSEWHERE) + 1
    for done, (resource, place) in enumerate(requested, start=1):
        output = _get(kubectl, [resource, "--output=json", *place])
        if output is None:
            unread.add(resource.partition(".")[0])
        else:
            manifests += objects_of(output)
        progress("reading the cluster", done, total)
    elsewhere: list[Manifest] = []
    for done, (name, arguments) in enumerate(ELSEWHERE.items(), start=len(requested) + 1):
        output = _get(kubectl, [*arguments, "--output=json"])
        if output is None:
            unread.add(name)
        else:
            elsewhere += objects_of(output)
        progress("reading the cluster", done, total)
    # Only their names: the content of Secrets is never read.
    names = _get(kubectl, ["secrets", f"--output={_NAMES}", "--no-headers", *where])
    if names is None:
        unread.add("secrets")
    else:
        manifests += secrets_of(names)
    progress("reading the cluster", total, total)
    return ManifestSet(manifests, live=True, unread=frozenset(unread), elsewhere=elsewhere)


_NAMES = "custom-columns=NAMESPACE:.metadata.namespace,NAME:.metadata.name"


def objects_of(output: str) -> list[Manifest]:
    """Return the objects in the output of `kubectl get --output=json`.

    Raises KubectlFailed if it is not valid JSON.
    """
    try:
        body = json.loads(output) if output.strip() else None
    except (ValueError, RecursionError) as problem:
        raise KubectlFailed(f"kubectl printed invalid JSON: {problem}") from None
    found = [Manifest(item) for _, item in flatten(body) if isinstance(item, dict)]
    return [one for one in found if one.kind]


def secrets_of(output: str) -> list[Manifest]:
    """Return Secrets without content, from lines of namespace and name."""
    rows = (line.split() for line in output.splitlines())
    return [
        Manifest(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"namespace": row[0], "name": row[1]},
            }
        )
        for row in rows
        if len(row) == 2
    ]


def _get(kubectl: Sequence[str], arguments: list[str]) -> str | None:
    """Return the output of `kubectl get`; "" for an unknown resource, None for a forbidden one."""
    command = [*kubectl, "get", *arguments, f"--request-timeout={_REQUEST_TIMEOUT_S}s"]
    try:
        done = subprocess.run(  # noqa: S603  # the user's own kubectl
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except FileNotFoundError:
        raise KubectlFailed(f"command not found: {kubectl[0]}") from None
    except subprocess.TimeoutExpired:
        raise KubectlFailed(f"kubectl did not finish within {_TIMEOUT_S} s") from None
    if done.returncode == 0:
        return done.stdout
    message = done.stderr.strip()
    if "the server doesn't have a resource type" in message:
        return ""
    if "Forbidden" in message or "forbidden" in message:
        return None
    last = message.splitlines()[-1:] or [f"exit status {done.returncode}"]
    raise KubectlFailed(f"{' '.join(command[: len(kubectl) + 2])}: {last[0]}")
