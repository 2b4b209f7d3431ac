"""Rules for CPU and memory requests, limits, and GPUs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from fractions import Fraction

from elastic_yolo.doctor.finding import Finding, Place, error, warning
from elastic_yolo.doctor.manifest_set import ManifestSet
from elastic_yolo.doctor.rule import Rule
from elastic_yolo.doctor.values import dig, mapping, mappings, quantity, text
from elastic_yolo.doctor.workload import Container, Workload, is_pod_resource, options_of

# Variables that set the number of threads of a program.
_THREADS = (
    "THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_THREAD_LIMIT",
    "TF_NUM_INTRAOP_THREADS", "GOMAXPROCS",
)  # fmt: skip
_ENGINE = re.compile(r"(^|/)elastic-yolo/(inference(-gpu)?|batch|stream)([:@]|$)")
_REJECTED = "The API server rejects the pods; only the events of the ReplicaSet show it."
_GPU = re.compile(r"nvidia\.com/(gpu|mig-.+)|amd\.com/gpu|gpu\.intel\.com/.+")


def limit_below_request(manifests: ManifestSet) -> Iterator[Finding]:
    """RES01: a limit is below the request."""
    for container in manifests.containers:
        for resource, stated in mapping(container.body, "resources", "limits").items():
            limit = quantity(stated)
            request = quantity(dig(container.body, "resources", "requests", resource))
            if limit is not None and request is not None and limit < request:
                yield error(
                    container.at("resources", "limits", resource),
                    f"The container {container.name} requests more {resource} "
                    f"({dig(container.body, 'resources', 'requests', resource)}) than its limit "
                    f"({stated}).",
                    _REJECTED,
                    "Raise the limit, or lower the request.",
                )
    for workload in manifests.workloads:
        for resource in mapping(workload.pod, "resources", "limits"):
            limit = workload.pod_resource("limits", resource)
            request = workload.pod_resource("requests", resource)
            if limit is not None and request is not None and limit < request:
                yield error(
                    workload.at("resources", "limits", resource),
                    f"The pod requests more {resource} than its limit.",
                    _REJECTED,
                    "Raise the limit, or lower the request.",
                )


def pod_resources_contradict(manifests: ManifestSet) -> Iterator[Finding]:
    """RES04: resources of the whole pod are impossible, or less than those of its containers.

    Source: Kubernetes, "Resource Management for Pods and Containers", pod-level resources.
    """
    for workload in manifests.workloads:
        for group in ("requests", "limits"):
            for resource in mapping(workload.pod, "resources", group):
                if not is_pod_resource(resource):
                    yield error(
                        workload.at("resources", group, resource),
                        f"{resource} cannot be stated for the whole pod.",
                        "Only cpu, memory and hugepages can: the API server rejects the pod.",
                        "State it in the resources of a container.",
                    )
        for resource in ("cpu", "memory"):
            yield from _beyond_pod(workload, resource)


def _beyond_pod(workload: Workload, resource: str) -> Iterator[Finding]:
    request = workload.pod_resource("requests", resource)
    limit = workload.pod_resource("limits", resource)
    together = sum(
        (one.resource_request(resource) or Fraction(0) for one in workload.containers), Fraction()
    )
    if request is not None and together > request:
        yield error(
            workload.at("resources", "requests", resource),
            f"The containers request more {resource} together "
            f"({_show(together, resource)}) than their pod ({_show(request, resource)}).",
            _REJECTED,
            "Raise the request of the pod, or lower those of the containers.",
        )
    for container in workload.all_containers if limit is not None else ():
        own = container.resource_limit(resource)
        if own is not None and limit is not None and own > limit:
            yield error(
                container.at("resources", "limits", resource),
                f"The {resource} limit of the container {container.name} "
                f"({_show(own, resource)}) is above that of its pod ({_show(limit, resource)}).",
                _REJECTED,
                "Lower the limit of the container, or raise that of the pod.",
            )


def cpu_limit_throttles(manifests: ManifestSet) -> Iterator[Finding]:
    """RES02: a CPU limit throttles threads or an engine."""
    for workload in manifests.workloads:
        for container in workload.containers:
            limit, place = _cpu_limit(workload, container)
            if limit is None or limit <= 0:
                continue
            if excess := _excess_threads(manifests, container, math.ceil(limit)):
                variable, threads = excess
                yield warning(
                    place,
                    f"{variable}={threads} with a CPU limit of {float(limit):g}.",
                    f"All threads together use up the quota of each 100 ms period after "
                    f"{float(limit) * 100 / threads:.0f} ms, and are then throttled until the "
                    "next: response times rise and vary.",
                    f"Set {variable}={math.ceil(limit)}, or a limit of {threads} CPUs.",
                )
            elif limit < 1 and _ENGINE.search(container.image):
                yield warning(
                    place,
                    f"The engine in {container.name} is CPU-bound, with a CPU limit of "
                    f"{float(limit):g}.",
                    f"In each 100 ms period it is throttled for {100 - float(limit) * 100:.0f} ms: "
                    "every picture takes longer, even on an idle node.",
                    "Set a CPU limit of 1 or more, or none; the CPU request may stay small.",
                )


def gpu_not_available(manifests: ManifestSet) -> Iterator[Finding]:
    """GPU01: a pod requests a GPU, and no node has one."""
    if not _knows_nodes(manifests):
        return
    for workload in manifests.workloads:
        for resource in _gpus(workload):
            if _largest(manifests, resource) == 0:
                yield error(
                    workload.at("containers"),
                    f"{workload.name} requests {resource}, and no node has it.",
                    "Its pods stay Pending.",
                    "minikube start --driver docker --gpus all; microk8s enable gpu; elsewhere "
                    "install the vendor's device plug-in on the nodes with GPUs.",
                )


def gpu_not_tolerated(manifests: ManifestSet) -> Iterator[Finding]:
    """GPU02: a pod requests a GPU and does not tolerate the usual taint of GPU nodes."""
    for workload in manifests.workloads:
        for resource in _gpus(workload):
            if not _tolerates(workload, resource):
                yield warning(
                    workload.at(),
                    f"{workload.name} requests {resource}, and tolerates no taint of that name.",
                    "Most nodes with GPUs have that taint: on these its pods stay Pending.",
                    f"Add tolerations: [{{key: {resource}, operator: Exists, effect: NoSchedule}}]",
                )


def gpu_without_limit(manifests: ManifestSet) -> Iterator[Finding]:
    """GPU03: a GPU request differs from its limit."""
    for container in manifests.containers:
        requests = mapping(container.body, "resources", "requests")
        for resource, stated in requests.items():
            if not (isinstance(resource, str) and _GPU.fullmatch(resource)):
                continue
            if quantity(stated) != container.resource_limit(resource):
                yield error(
                    container.at("resources", "requests", resource),
                    f"The container {container.name} requests {stated} of {resource}, and its "
                    "limit differs or is not set.",
                    "GPUs cannot be overcommitted: the API server rejects the pod.",
                    "Set the limit only; the request defaults to it.",
                )


def larger_than_any_node(manifests: ManifestSet) -> Iterator[Finding]:
    """RES03: a pod requests more than the largest node has."""
    if not _knows_nodes(manifests):
        return
    for workload in manifests.workloads:
        for resource in ("cpu", "memory"):
            wanted, largest = workload.resource_request(resource), _largest(manifests, resource)
            if wanted > largest > 0:
                yield error(
                    workload.at("containers"),
                    f"A pod of {workload.name} requests "
                    f"{_show(wanted, resource)} of {resource}; the largest node has "
                    f"{_show(largest, resource)}.",
                    "Its pods stay Pending, even on an empty node.",
                    "Request less, or add a larger node (minikube start --cpus --memory on a new "
                    "cluster).",
                )


def _cpu_limit(workload: Workload, container: Container) -> tuple[Fraction | None, Place]:
    """Return the lower limit of a container and its pod, and its place."""
    own, shared = container.resource_limit("cpu"), workload.pod_resource("limits", "cpu")
    if own is None or (shared is not None and shared < own):
        return shared, workload.at("resources", "limits", "cpu")
    return own, container.at("resources", "limits", "cpu")


def _excess_threads(
    manifests: ManifestSet, container: Container, room: int
) -> tuple[str, int] | None:
    stated = manifests.environment(container)
    if _ENGINE.search(container.image):
        stated = stated | {"--threads": options_of(container).get("--threads", "")}
    for name in ("--threads", *_THREADS):
        value = stated.get(name, "")
        if value.isdecimal() and len(value) < 6 and int(value) > room:
            return name, int(value)
    return None


def _gpus(workload: Workload) -> list[str]:
    found = {
        resource: None
        for container in workload.all_containers
        for group in ("limits", "requests")
        for resource in mapping(container.body, "resources", group)
        if isinstance(resource, str) and _GPU.fullmatch(resource)
    }
    return list(found)


def _tolerates(workload: Workload, resource: str) -> bool:
    for _, one in mappings(workload.pod, "tolerations"):
        key, everything = text(one, "key"), text(one, "operator") == "Exists"
        if key == resource or (everything and not key):
            return True
    return False


def _knows_nodes(manifests: ManifestSet) -> bool:
    """Return whether the nodes are known: from the cluster, or from files that describe them."""
    if manifests.live:
        return "nodes" not in manifests.unread
    return next(manifests.of_kind("Node"), None) is not None


def _largest(manifests: ManifestSet, resource: str) -> float:
    found = [
        quantity(one.get("status", "allocatable", resource)) for one in manifests.of_kind("Node")
    ]
    return max((float(one) for one in found if one is not None), default=0.0)


def _show(amount: Fraction | float, resource: str) -> str:
    return f"{float(amount):g}" if resource == "cpu" else f"{float(amount) / 2**30:.1f} GiB"


RULES = (
    Rule("RES01", limit_below_request),
    Rule("RES02", cpu_limit_throttles),
    Rule("RES03", larger_than_any_node),
    Rule("RES04", pod_resources_contradict),
    Rule("GPU01", gpu_not_available),
    Rule("GPU02", gpu_not_tolerated),
    Rule("GPU03", gpu_without_limit),
)
