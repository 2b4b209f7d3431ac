"""Requests, limits and GPUs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from fractions import Fraction

from elastic_yolo.doctor.finding import Finding, error, warning
from elastic_yolo.doctor.manifest_set import ManifestSet
from elastic_yolo.doctor.rule import Rule
from elastic_yolo.doctor.values import dig, mapping, mappings, quantity, text
from elastic_yolo.doctor.workload import Container, Workload

# Variables by which programs are told how many threads to compute with.
_THREADS = (
    "THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_THREAD_LIMIT",
    "TF_NUM_INTRAOP_THREADS", "GOMAXPROCS",
)  # fmt: skip
_ENGINE = re.compile(r"(^|/)elastic-yolo/inference(-gpu)?([:@]|$)")
_GPU = re.compile(r"nvidia\.com/(gpu|mig-.+)|amd\.com/gpu|gpu\.intel\.com/.+")


def limit_below_request(manifests: ManifestSet) -> Iterator[Finding]:
    """Less at most than at least."""
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
                    "The API server refuses the pod: the Deployment has none, and says so only in "
                    "the events of its ReplicaSet.",
                    "Raise the limit, or lower the request.",
                )


def throttled(manifests: ManifestSet) -> Iterator[Finding]:
    """More threads than the CPU limit has room for."""
    for workload in manifests.workloads:
        for container in workload.containers:
            limit = container.resource_limit("cpu")
            if limit is None or limit <= 0:
                continue
            if told := _told_threads(manifests, container, math.ceil(limit)):
                variable, threads = told
                yield warning(
                    container.at("resources", "limits", "cpu"),
                    f"{variable}={threads} threads share a limit of {float(limit):g} CPU.",
                    "Together they use up their share of each 100 ms after "
                    f"{float(limit) * 100 / threads:.0f} ms, and then all stand still until the "
                    "next: answers take long and unequally long.",
                    f"{variable}={math.ceil(limit)}, or a limit of {threads} CPUs.",
                )
            elif limit < 1 and _ENGINE.search(container.image):
                yield warning(
                    container.at("resources", "limits", "cpu"),
                    f"The engine in {container.name} computes without a break, with a limit of "
                    f"{float(limit):g} CPU.",
                    f"In each 100 ms it stands still for {100 - float(limit) * 100:.0f}: a picture "
                    "takes that much longer, however idle the node is.",
                    "A limit of 1 CPU or more, or none; the request may stay small.",
                )


def gpu_nowhere(manifests: ManifestSet) -> Iterator[Finding]:
    """A GPU is asked for in a cluster that has none."""
    if not manifests.live or "nodes" in manifests.unread:
        return
    for workload in manifests.workloads:
        for resource in _gpus(workload):
            if _largest(manifests, resource) == 0:
                yield error(
                    workload.at("containers"),
                    f"{workload.manifest.kind}/{workload.manifest.name} asks for {resource}, and "
                    "no node has one to give.",
                    "Its pods stay Pending.",
                    "minikube start --driver docker --gpus all; microk8s enable gpu; elsewhere the "
                    "vendor's device plug-in has to run on the nodes with GPUs.",
                )


def gpu_not_tolerated(manifests: ManifestSet) -> Iterator[Finding]:
    """Nodes with GPUs are mostly kept for those who say that they want them."""
    for workload in manifests.workloads:
        for resource in _gpus(workload):
            if not _tolerates(workload, resource):
                yield warning(
                    workload.at(),
                    f"{workload.manifest.kind}/{workload.manifest.name} asks for {resource}, and "
                    "tolerates no taint of that name.",
                    "Nodes with GPUs mostly carry that taint: where they do, its pods stay "
                    "Pending.",
                    f"tolerations: [{{key: {resource}, operator: Exists, effect: NoSchedule}}]",
                )


def gpu_without_limit(manifests: ManifestSet) -> Iterator[Finding]:
    """GPUs are not overcommitted."""
    for container in manifests.containers:
        requests = mapping(container.body, "resources", "requests")
        for resource, stated in requests.items():
            if not (isinstance(resource, str) and _GPU.fullmatch(resource)):
                continue
            if quantity(stated) != container.resource_limit(resource):
                yield error(
                    container.at("resources", "requests", resource),
                    f"The container {container.name} requests {stated} of {resource}, and its "
                    "limit is another or none.",
                    "GPUs are not shared: the API server refuses a request that is not the limit.",
                    "State the limit; the request is then the same by itself.",
                )


def larger_than_any_node(manifests: ManifestSet) -> Iterator[Finding]:
    """A pod for which no node would do, were it empty."""
    if not manifests.live or "nodes" in manifests.unread:
        return
    for workload in manifests.workloads:
        for resource in ("cpu", "memory"):
            wanted, largest = workload.resource_request(resource), _largest(manifests, resource)
            if wanted > largest > 0:
                yield error(
                    workload.at("containers"),
                    f"A pod of {workload.manifest.kind}/{workload.manifest.name} requests "
                    f"{_show(wanted, resource)} of {resource}; the largest node has "
                    f"{_show(largest, resource)}.",
                    "Its pods stay Pending, also when everything else is stopped.",
                    "Request less, or add a larger node (minikube start --cpus --memory on a new "
                    "cluster).",
                )


def _told_threads(
    manifests: ManifestSet, container: Container, room: int
) -> tuple[str, int] | None:
    stated = manifests.environment(container)
    for name in _THREADS:
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


def _largest(manifests: ManifestSet, resource: str) -> float:
    found = [
        quantity(one.get("status", "allocatable", resource)) for one in manifests.of_kind("Node")
    ]
    return max((float(one) for one in found if one is not None), default=0.0)


def _show(amount: Fraction | float, resource: str) -> str:
    return f"{float(amount):g}" if resource == "cpu" else f"{float(amount) / 2**30:.1f} GiB"


RULES = (
    Rule("RES01", limit_below_request),
    Rule("RES02", throttled),
    Rule("RES03", larger_than_any_node),
    Rule("GPU01", gpu_nowhere),
    Rule("GPU02", gpu_not_tolerated),
    Rule("GPU03", gpu_without_limit),
)
