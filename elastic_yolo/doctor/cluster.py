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
    "scaledobjects.keda.sh",
)  # fmt: skip
WIDE = ("namespaces", "nodes", "apiservices.apiregistration.k8s.io")


def read_cluster(
    kubectl: Sequence[str], namespace: str | None, progress: Callable[[str, int, int], None]
) -> ManifestSet:
    """Read what the rules look at; `namespace` None means the one that kubectl is set up for.

    Raises KubectlFailed if the cluster does not answer at all.
    """
    where = [] if namespace is None else ["--namespace", namespace]
    manifests: list[Manifest] = []
    unread: set[str] = set()
    asked = [*((one, where) for one in NAMESPACED), *((one, []) for one in WIDE)]
    for done, (resource, place) in enumerate(asked, start=1):
        answer = _get(kubectl, [resource, "--output=json", *place])
        if answer is None:
            unread.add(resource.partition(".")[0])
        else:
            manifests += objects_of(answer)
        progress("reading the cluster", done, len(asked) + 1)
    # Only their names: what is in them is nobody's business here.
    names = _get(kubectl, ["secrets", f"--output={_NAMES}", "--no-headers", *where])
    if names is None:
        unread.add("secrets")
    else:
        manifests += secrets_of(names)
    progress("reading the cluster", len(asked) + 1, len(asked) + 1)
    return ManifestSet(manifests, live=True, unread=frozenset(unread))


_NAMES = "custom-columns=NAMESPACE:.metadata.namespace,NAME:.metadata.name"


def objects_of(answer: str) -> list[Manifest]:
    """Return the objects of what `kubectl get --output=json` prints.

    Raises KubectlFailed for what is no JSON.
    """
    try:
        body = json.loads(answer) if answer.strip() else None
    except (ValueError, RecursionError) as problem:
        raise KubectlFailed(f"what kubectl printed is no JSON: {problem}") from None
    found = [Manifest(item) for _, item in flatten(body) if isinstance(item, dict)]
    return [one for one in found if one.kind]


def secrets_of(answer: str) -> list[Manifest]:
    """Return Secrets without their content, from lines of namespace and name."""
    rows = (line.split() for line in answer.splitlines())
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
    """Return what kubectl printed; nothing for an unknown resource, None for a forbidden one."""
    command = [*kubectl, "get", *arguments, f"--request-timeout={_REQUEST_TIMEOUT_S}s"]
    try:
        done = subprocess.run(  # noqa: S603  # the kubectl of who runs this
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except FileNotFoundError:
        raise KubectlFailed(f"no such command: {kubectl[0]}") from None
    except subprocess.TimeoutExpired:
        raise KubectlFailed(f"the cluster does not answer within {_TIMEOUT_S} s") from None
    if done.returncode == 0:
        return done.stdout
    said = done.stderr.strip()
    if "the server doesn't have a resource type" in said:
        return ""
    if "Forbidden" in said or "forbidden" in said:
        return None
    last = said.splitlines()[-1:] or [f"it ended with {done.returncode}"]
    raise KubectlFailed(f"{' '.join(command[: len(kubectl) + 2])}: {last[0]}")
