"""Checks that no tool has: manifests fit each other, the services and their settings.

Each check yields a line for every fault.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from elastic_yolo.lab.processes.stack import ROOT
from services.common.core.settings import ServiceSettings, variables
from services.common.core.trace_settings import TraceSettings
from services.inference.settings import InferenceSettings
from services.preprocess.settings import PreprocessSettings
from services.web.app import create_app
from services.web.settings import WebSettings
from tests.support.rendered import Manifest, matches, name_of, of_kind, pod_templates

SETTINGS: dict[str, type[ServiceSettings]] = {
    "web": WebSettings,
    "preprocess": PreprocessSettings,
    "inference": InferenceSettings,
}
# Time to load a large model on a slow node, in addition to waiting for it.
_LOADING_S = 20

Check = Callable[[list[Manifest]], Iterator[str]]


def selectors_choose_something(manifests: list[Manifest]) -> Iterator[str]:
    """Deployments select their own pods; every other selector matches at least one pod."""
    labels = [template["metadata"]["labels"] for _, template in pod_templates(manifests)]
    for one in of_kind(manifests, "Deployment"):
        if not matches(one["spec"]["selector"], one["spec"]["template"]["metadata"]["labels"]):
            yield f"Deployment {name_of(one)} does not choose its own pods"
    for one in of_kind(manifests, "Service", "PodDisruptionBudget"):
        if not any(matches(one["spec"]["selector"], there) for there in labels):
            yield f"{one['kind']} {name_of(one)} chooses nothing"
    for one in of_kind(manifests, "NetworkPolicy"):
        chosen = one["spec"]["podSelector"]
        if chosen and not any(matches(chosen, there) for there in labels):
            yield f"NetworkPolicy {name_of(one)} chooses nothing"
    deployments = {name_of(one) for one in of_kind(manifests, "Deployment")}
    for one in of_kind(manifests, "HorizontalPodAutoscaler", "ScaledObject"):
        if one["spec"]["scaleTargetRef"]["name"] not in deployments:
            yield f"{one['kind']} {name_of(one)} scales nothing"


def ports_are_those_of_the_services(manifests: list[Manifest]) -> Iterator[str]:
    """A container has its service's default port, and Services target it by name."""
    for tier, container in _tiers(manifests):
        default = SETTINGS[tier].model_fields["port"].default
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        if ports != {"http": default}:
            yield f"{tier}: ports {ports}, but it listens on {default}"
    for one in of_kind(manifests, "Service"):
        tier = name_of(one)
        default = SETTINGS[tier].model_fields["port"].default
        (port,) = one["spec"]["ports"]
        if (port["port"], port["targetPort"]) != (default, "http"):
            yield f"Service {tier}: {port}"


def variables_exist_and_are_valid(manifests: list[Manifest]) -> Iterator[str]:
    """The service's settings have and accept every variable of its ConfigMap and Deployment."""
    for tier, container in _tiers(manifests):
        stated = _environment(manifests, container)
        kind = SETTINGS[tier]
        for name in stated.keys() - variables(kind).keys() - variables(TraceSettings).keys():
            yield f"{tier}: nobody reads {name}"
        try:
            for one in (kind, TraceSettings):
                one.model_validate({name.lower(): value for name, value in stated.items()})
        except ValidationError as error:
            yield f"{tier}: {error.errors()[0]['loc']}: {error.errors()[0]['msg']}"


def addresses_lead_to_services(manifests: list[Manifest]) -> Iterator[str]:
    """Every URL has a Service of these manifests and its port, and policies allow it."""
    services = {
        name_of(one): one["spec"]["ports"][0]["port"] for one in of_kind(manifests, "Service")
    }
    for tier, container in _tiers(manifests):
        for name, value in _environment(manifests, container).items():
            if not name.endswith("_URL"):
                continue
            url = urlsplit(value)
            if services.get(str(url.hostname)) != url.port:
                yield f"{tier}: {name}={value} leads to no Service"
            elif not _is_allowed(manifests, tier, str(url.hostname), url.port):
                yield f"{tier}: no NetworkPolicy lets it talk to {url.hostname}:{url.port}"


def probes_have_real_routes(manifests: list[Manifest]) -> Iterator[str]:
    """All three probes exist with real routes; liveness does not depend on other services."""
    app = create_app(WebSettings(preprocess_url="http://127.0.0.1:1"))
    described = app.openapi()["paths"]
    wanted = {"startupProbe": "/livez", "readinessProbe": "/readyz", "livenessProbe": "/livez"}
    for tier, container in _tiers(manifests):
        for probe, path in wanted.items():
            asked = container.get(probe, {}).get("httpGet", {})
            if asked.get("path") != path or asked.get("port") != "http" or path not in described:
                yield f"{tier}: {probe} asks {asked}"


def autoscalers_can_compute(manifests: list[Manifest]) -> Iterator[str]:
    """Every container has a CPU request, and nothing else sets the number of pods."""
    scaled = {
        one["spec"]["scaleTargetRef"]["name"]
        for one in of_kind(manifests, "HorizontalPodAutoscaler", "ScaledObject")
    }
    for one in of_kind(manifests, "Deployment"):
        if name_of(one) in scaled and "replicas" in one["spec"]:
            yield f"{name_of(one)}: replicas would fight with its autoscaler"
    for name, template in pod_templates(manifests):
        for container in template["spec"]["containers"]:
            resources = container.get("resources", {})
            if not {"cpu", "memory"} <= resources.get("requests", {}).keys():
                yield f"{name}: {container['name']} requests {resources.get('requests')}"
            if "memory" not in resources.get("limits", {}):
                yield f"{name}: {container['name']} may take all memory"


def pods_have_time_to_drain(manifests: list[Manifest]) -> Iterator[str]:
    """The grace period is longer than the service's shutdown."""
    for tier, container in _tiers(manifests):
        stated = _environment(manifests, container)
        fields = SETTINGS[tier].model_fields
        needed = sum(
            float(stated.get(name.upper(), fields[name].default))
            for name in ("drain_delay_s", "drain_timeout_s")
        )
        (pod,) = [
            template["spec"]
            for _, template in pod_templates(manifests)
            if container in template["spec"]["containers"]
        ]
        if pod["terminationGracePeriodSeconds"] <= needed:
            yield f"{tier}: {needed} s to drain, {pod['terminationGracePeriodSeconds']} s given"


def slow_starts_are_waited_for(manifests: list[Manifest]) -> Iterator[str]:
    """The startup probe fails later than the service stops waiting for its model."""
    for tier, container in _tiers(manifests):
        probe = container["startupProbe"]
        given = probe["periodSeconds"] * probe["failureThreshold"]
        needed = float(_environment(manifests, container).get("MODEL_WAIT_S", 0)) + _LOADING_S
        if given < needed:
            yield f"{tier}: may take {needed} s to start, {given} s given"


def images_are_built_here(manifests: list[Manifest]) -> Iterator[str]:
    """build_docker.sh builds every image of these manifests."""
    script = (ROOT / "build_docker.sh").read_text()
    built = re.search(r"^    ([a-z |]+)\) images\+=", script, re.MULTILINE)
    assert built is not None
    names = {"inference-gpu" if one == "gpu" else one for one in built[1].split(" | ")}
    for name, template in pod_templates(manifests):
        for container in template["spec"]["containers"]:
            image = container["image"].rpartition("elastic-yolo/")[2].partition(":")[0]
            if image not in names:
                yield f"{name}: {container['image']} is built by nobody"


def the_first_job_is_the_usual_one(manifests: list[Manifest]) -> Iterator[str]:
    """The first job is the same as the one that runs every ten minutes."""
    (usual,) = of_kind(manifests, "CronJob")
    (first,) = of_kind(manifests, "Job")
    if first["spec"] != usual["spec"]["jobTemplate"]["spec"]:
        yield "the first job is another one than the usual"


def what_is_prepared_is_used(manifests: list[Manifest]) -> Iterator[str]:
    """The job fills the cache that inference reads, on the shared volume."""
    (usual,) = of_kind(manifests, "CronJob")
    pod = usual["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    arguments = dict(one.split("=", 1) for one in pod["containers"][0]["args"] if "=" in one)
    for tier, container in _tiers(manifests):
        stated = _environment(manifests, container)
        if tier != "inference":
            continue
        if stated.get("CACHE_DIR") != arguments["--cache"]:
            yield f"the job prepares {arguments['--cache']}, pods read {stated.get('CACHE_DIR')}"
        if not stated["MODEL_PATH"].startswith(f"store:{arguments['--store']}/"):
            yield f"the job fills {arguments['--store']}, pods read {stated['MODEL_PATH']}"


CHECKS: tuple[Check, ...] = (
    selectors_choose_something,
    ports_are_those_of_the_services,
    variables_exist_and_are_valid,
    addresses_lead_to_services,
    probes_have_real_routes,
    autoscalers_can_compute,
    pods_have_time_to_drain,
    slow_starts_are_waited_for,
    images_are_built_here,
    the_first_job_is_the_usual_one,
    what_is_prepared_is_used,
)


def _tiers(manifests: list[Manifest]) -> Iterator[tuple[str, Any]]:
    """Yield the tier and the container of every Deployment."""
    for one in of_kind(manifests, "Deployment"):
        labels = one["spec"]["template"]["metadata"]["labels"]
        (container,) = one["spec"]["template"]["spec"]["containers"]
        yield labels["app.kubernetes.io/name"], container


def _environment(manifests: list[Manifest], container: Manifest) -> dict[str, str]:
    maps = {name_of(one): one["data"] for one in of_kind(manifests, "ConfigMap")}
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        found |= maps[source["configMapRef"]["name"]]
    # The value of a Secret is unknown: a valid token of the minimum length.
    return found | {one["name"]: one.get("value", "x" * 16) for one in container.get("env", [])}


def _is_allowed(manifests: list[Manifest], tier: str, to: str, port: int | None) -> bool:
    """Return whether policies allow egress of one tier and ingress of the other."""
    here, there = ({"app.kubernetes.io/name": name} for name in (tier, to))

    def some(direction: str, peer: str, subject: dict[str, str], other: dict[str, str]) -> bool:
        return any(
            matches(policy["spec"]["podSelector"], subject)
            and any(
                matches(one.get("podSelector", {"none": "none"}), other)
                for rule in policy["spec"].get(direction, [])
                if any(stated["port"] == port for stated in rule.get("ports", []))
                for one in rule.get(peer, [])
            )
            for policy in of_kind(manifests, "NetworkPolicy")
            if policy["spec"]["podSelector"]
        )

    return some("egress", "to", here, there) and some("ingress", "from", there, here)
