"""Checks that no tool has: manifests fit each other, the services and their settings.

Each check yields a line for every fault.
"""

from __future__ import annotations

import argparse
import io
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from importlib import import_module
from typing import Any
from urllib.parse import SplitResult, urlsplit

from pydantic import ValidationError

from elastic_yolo.cli.__main__ import COMMANDS
from elastic_yolo.doctor.dns import DEFAULT_TTL_S, NOTICE_S
from elastic_yolo.doctor.values import share_of
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
    for one in of_kind(manifests, "Deployment", "StatefulSet"):
        if not matches(one["spec"]["selector"], one["spec"]["template"]["metadata"]["labels"]):
            yield f"{one['kind']} {name_of(one)} does not choose its own pods"
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
    """A container has its service's default port, and Services target a port by its name."""
    for tier, container in _tiers(manifests):
        default = SETTINGS[tier].model_fields["port"].default
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        probe_port = _environment(manifests, container).get("METRICS_PORT")
        expected = {"http": default} | ({"probes": int(probe_port)} if probe_port else {})
        if ports != expected:
            yield f"{tier}: ports {ports}, but it listens on {expected}"
    for one in of_kind(manifests, "Service"):
        for name, template in pod_templates(manifests):
            if not matches(one["spec"]["selector"], template["metadata"]["labels"]):
                continue
            (container,) = template["spec"]["containers"]
            ports = {stated["name"]: stated["containerPort"] for stated in container["ports"]}
            for port in one["spec"]["ports"]:
                if ports.get(port["targetPort"]) != port["port"]:
                    yield f"Service {name_of(one)}: {port}, but {name} has {ports}"


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
    for tier, container in _deployed(manifests):
        for name, url in _urls(_environment(manifests, container)):
            if not url.port or "." in str(url.hostname):
                continue
            if services.get(str(url.hostname)) != url.port:
                yield f"{tier}: {name}={url.geturl()} leads to no Service"
            elif not _is_allowed(manifests, tier, _tier_behind(manifests, url), url.port):
                yield f"{tier}: no NetworkPolicy lets it talk to {url.hostname}:{url.port}"


def _urls(environment: dict[str, str]) -> Iterator[tuple[str, SplitResult]]:
    """Yield each variable with each of its URLs: a comma separates those of several Services."""
    for name, value in environment.items():
        for url in value.split(",") if name.endswith("_URL") else [value]:
            yield name, urlsplit(url)


def _tier_behind(manifests: list[Manifest], url: SplitResult) -> str:
    """Return the name of the pods that the Service of a URL selects."""
    selectors = {name_of(one): one["spec"]["selector"] for one in of_kind(manifests, "Service")}
    return str(selectors.get(str(url.hostname), {}).get("app.kubernetes.io/name"))


def probes_have_real_routes(manifests: list[Manifest]) -> Iterator[str]:
    """All three probes exist with real routes; liveness does not depend on other services."""
    app = create_app(WebSettings(preprocess_url="http://127.0.0.1:1"))
    described = app.openapi()["paths"]
    wanted = {"startupProbe": "/livez", "readinessProbe": "/readyz", "livenessProbe": "/livez"}
    for tier, container in _tiers(manifests):
        stated = _environment(manifests, container)
        # The kubelet has no certificate, so a port with TLS is none for probes.
        port = "probes" if "TLS_CERT_FILE" in stated or "METRICS_PORT" in stated else "http"
        for probe, path in wanted.items():
            asked = container.get(probe, {}).get("httpGet", {})
            if asked != {"path": path, "port": port} or path not in described:
                yield f"{tier}: {probe} asks {asked}"


def certificates_have_the_names_of_urls(manifests: list[Manifest]) -> Iterator[str]:
    """A tier mounts the certificate whose names and usages its callers and it need."""
    certificates = {
        one["spec"]["secretName"]: one["spec"] for one in of_kind(manifests, "Certificate")
    }
    mounted = {}
    for tier, container in _tiers(manifests):
        stated = _environment(manifests, container)
        if "TLS_CERT_FILE" not in stated:
            continue
        folder = stated["TLS_CERT_FILE"].rpartition("/")[0]
        (pod,) = [
            template["spec"]
            for _, template in pod_templates(manifests)
            if container in template["spec"]["containers"]
        ]
        names = {one["mountPath"]: one["name"] for one in container["volumeMounts"]}
        secrets = {one["name"]: one.get("secret", {}).get("secretName") for one in pod["volumes"]}
        mounted[tier] = certificates.get(secrets.get(names.get(folder, ""), ""), {})
        if not {"server auth"} <= set(mounted[tier].get("usages", [])):
            yield f"{tier}: {folder} has no certificate of a server"
    for tier, container in _tiers(manifests):
        for name, url in _urls(_environment(manifests, container)):
            if url.scheme != "https" or not name.endswith("_URL"):
                continue
            shown = mounted.get(_tier_behind(manifests, url), {})
            if url.hostname not in shown.get("dnsNames", []):
                yield f"{tier}: no certificate has the name in {name}={url.geturl()}"
            if "client auth" not in mounted.get(tier, {}).get("usages", []):
                yield f"{tier}: its certificate is none of a client"


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
    for name, template in pod_templates(manifests):
        drain_s = float(_options(template)["--drain-timeout"] or 0)
        if drain_s and template["spec"]["terminationGracePeriodSeconds"] <= drain_s:
            yield f"{name}: {drain_s} s to drain, less given"


def old_pods_serve_until_dns_names_new_ones(manifests: list[Manifest]) -> Iterator[str]:
    """Behind a headless Service: docs/load-balancing.md, "During a rollout"."""
    headless = [
        one["spec"]["selector"]
        for one in of_kind(manifests, "Service")
        if one["spec"].get("clusterIP") == "None"
        # Those that expect pods that start or end.
        and not one["spec"].get("publishNotReadyAddresses")
    ]
    for one in of_kind(manifests, "Deployment"):
        labels = one["spec"]["template"]["metadata"]["labels"]
        named = any(matches(selector, labels) for selector in headless)
        if not named or one["spec"].get("strategy", {}).get("type") == "Recreate":
            continue
        (container,) = one["spec"]["template"]["spec"]["containers"]
        drain_s = float(_environment(manifests, container).get("DRAIN_DELAY_S", 0))
        serves_s = one["spec"].get("minReadySeconds", 0) + drain_s
        if serves_s < DEFAULT_TTL_S + NOTICE_S:
            yield f"{name_of(one)}: an old pod serves for {serves_s} s beside the new one"


def rollouts_lose_no_only_pod(manifests: list[Manifest]) -> Iterator[str]:
    """A single pod goes after the new one has come; of several, some may go before."""
    for one in of_kind(manifests, "Deployment"):
        stated = one["spec"].get("strategy", {}).get("rollingUpdate")
        # Kubernetes' own default is right; another strategy has no surge.
        if stated is None:
            continue
        single = share_of(stated["maxUnavailable"], 1, up=False)
        if single != 0 or not share_of(stated["maxSurge"], 1, up=True):
            yield f"{name_of(one)}: {stated} is an outage of a single pod"
        if not share_of(stated["maxUnavailable"], 4, up=False):
            yield f"{name_of(one)}: {stated} waits for room for a further pod"


def slow_starts_are_waited_for(manifests: list[Manifest]) -> Iterator[str]:
    """The startup probe fails later than the service stops waiting for its model."""
    for tier, container in _tiers(manifests):
        probe = container["startupProbe"]
        given = probe["periodSeconds"] * probe["failureThreshold"]
        needed = float(_environment(manifests, container).get("MODEL_WAIT_S", 0)) + _LOADING_S
        if given < needed:
            yield f"{tier}: may take {needed} s to start, {given} s given"


def images_are_built_here(manifests: list[Manifest]) -> Iterator[str]:
    """build_docker.sh builds every image of these manifests; those of others have a version."""
    script = (ROOT / "build_docker.sh").read_text()
    built = re.search(r"^    ([a-z |]+)\) images\+=", script, re.MULTILINE)
    assert built is not None
    names = {"inference-gpu" if one == "gpu" else one for one in built[1].split(" | ")}
    for name, template in pod_templates(manifests):
        for container in template["spec"]["containers"]:
            _, ours, image = container["image"].rpartition("elastic-yolo/")
            if not ours:
                if not re.fullmatch(r"\w+:\d[\w.-]*", image):
                    yield f"{name}: {container['image']} has no version"
            elif image.partition(":")[0] not in names:
                yield f"{name}: {container['image']} is built by nobody"


def the_first_job_is_the_usual_one(manifests: list[Manifest]) -> Iterator[str]:
    """The first job is the same as the one that runs every ten minutes."""
    usual = _models_job(manifests)
    (first,) = of_kind(manifests, "Job")
    if first["spec"] != usual["spec"]["jobTemplate"]["spec"]:
        yield "the first job is another one than the usual"


def what_is_prepared_is_used(manifests: list[Manifest]) -> Iterator[str]:
    """The job fills the cache that inference reads, on the shared volume."""
    usual = _models_job(manifests)
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


def engines_have_the_threads_of_their_limit(manifests: list[Manifest]) -> Iterator[str]:
    """--threads is the CPU limit, which the commands do not look at."""
    for name, template in pod_templates(manifests):
        stated = _options(template)["--threads"]
        for container in template["spec"]["containers"]:
            limit = container["resources"]["limits"].get("cpu")
            if stated and str(limit) != stated:
                yield f"{name}: --threads={stated} with a CPU limit of {limit}"


def commands_are_accepted(manifests: list[Manifest]) -> Iterator[str]:
    """The console command has the subcommands and options that containers state."""
    for name, template in pod_templates(manifests):
        for container in template["spec"]["containers"]:
            stated = container.get("args", [])
            if not stated or stated[0] not in COMMANDS:
                if stated:
                    yield f"{name}: no command {stated[0]}"
                continue
            parser = argparse.ArgumentParser()
            module = import_module(f"elastic_yolo.cli.{stated[0]}")
            module.add_parser(parser.add_subparsers())
            words = [one.replace("$(JOB_COMPLETION_INDEX)", "0") for one in stated]
            said = io.StringIO()
            try:
                with redirect_stderr(said):
                    parser.parse_args(
                        [re.sub(r"\$\(\w+\)", "store:/models/m@c", one) for one in words]
                    )
            except SystemExit:
                yield f"{name}: {said.getvalue().splitlines()[-1]}"


def every_part_of_a_job_is_done(manifests: list[Manifest]) -> Iterator[str]:
    """A job has as many completions as its command divides the pictures into."""
    for one in of_kind(manifests, "CronJob"):
        job = one["spec"]["jobTemplate"]["spec"]
        options = _options(job["template"])
        if not options["--completions"]:
            continue
        if (job.get("completionMode"), str(job.get("completions"))) != (
            "Indexed",
            options["--completions"],
        ):
            yield f"{name_of(one)}: {job.get('completions')} completions, {options}"
        if options["--index"] != "$(JOB_COMPLETION_INDEX)":
            yield f"{name_of(one)}: --index={options['--index']}"
        if "$(JOB_NAME)" not in options["--output"]:
            yield f"{name_of(one)}: its jobs write into one folder"


CHECKS: tuple[Check, ...] = (
    selectors_choose_something,
    ports_are_those_of_the_services,
    variables_exist_and_are_valid,
    addresses_lead_to_services,
    probes_have_real_routes,
    certificates_have_the_names_of_urls,
    autoscalers_can_compute,
    pods_have_time_to_drain,
    old_pods_serve_until_dns_names_new_ones,
    rollouts_lose_no_only_pod,
    slow_starts_are_waited_for,
    images_are_built_here,
    the_first_job_is_the_usual_one,
    what_is_prepared_is_used,
    engines_have_the_threads_of_their_limit,
    commands_are_accepted,
    every_part_of_a_job_is_done,
)


def _tiers(manifests: list[Manifest]) -> Iterator[tuple[str, Any]]:
    """Yield the tier and the container of the Deployments of the three services."""
    for name, container in _deployed(manifests):
        if name in SETTINGS:
            yield name, container


def _deployed(manifests: list[Manifest]) -> Iterator[tuple[str, Any]]:
    """Yield the name and the container of every Deployment."""
    for one in of_kind(manifests, "Deployment"):
        labels = one["spec"]["template"]["metadata"]["labels"]
        (container,) = one["spec"]["template"]["spec"]["containers"]
        yield labels["app.kubernetes.io/name"], container


def _models_job(manifests: list[Manifest]) -> Manifest:
    return next(one for one in of_kind(manifests, "CronJob") if name_of(one) == "models")


def _options(template: Manifest) -> defaultdict[str, str]:
    """Return the options of a pod's command; "" for one that it does not state."""
    stated = [
        one for container in template["spec"]["containers"] for one in container.get("args", [])
    ]
    return defaultdict(str, (one.split("=", 1) for one in stated if "=" in one))


def _environment(manifests: list[Manifest], container: Manifest) -> dict[str, str]:
    maps = {name_of(one): one["data"] for one in of_kind(manifests, "ConfigMap")}
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        found |= maps[source["configMapRef"]["name"]]
    # The value of a Secret is unknown: a valid token of the minimum length.
    for one in container.get("env", []):
        source = one.get("valueFrom", {}).get("configMapKeyRef")
        value = maps[source["name"]][source["key"]] if source else one.get("value", "x" * 16)
        found[one["name"]] = value
    return found


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
                # Without a list of peers: anyone.
                for one in rule.get(peer, [{"podSelector": {}}])
            )
            for policy in of_kind(manifests, "NetworkPolicy")
            if policy["spec"]["podSelector"]
        )

    return some("egress", "to", here, there) and some("ingress", "from", there, here)
