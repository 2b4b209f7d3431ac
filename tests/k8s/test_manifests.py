"""Every overlay and component is valid, permitted, and fits the services it runs."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import yaml

from elastic_yolo.doctor.manifest_set import ManifestSet
from elastic_yolo.doctor.manifests import read_text
from elastic_yolo.doctor.rules import diagnose
from elastic_yolo.lab.autoscaler.series import parse_series
from elastic_yolo.lab.processes.stack import DEMO_MODEL, ROOT
from elastic_yolo.provision.config import read_models_config
from elastic_yolo.store.reader import resolve
from elastic_yolo.store.reference import parse_reference
from services.common.core.settings import ForwardingSettings
from services.web.app import create_app
from services.web.settings import WebSettings
from tests.k8s import checks
from tests.k8s.checks import CHECKS, Check
from tests.support.command import run
from tests.support.rendered import (
    ALTERNATIVES,
    COMPONENTS,
    K8S,
    OVERLAYS,
    TOOLS,
    Manifest,
    name_of,
    of_kind,
    parse,
    pod_templates,
    render,
    render_overlay,
    render_with,
    require_tools,
)

VERSIONS = ("1.29", "1.30", "1.31", "1.32", "1.33", "1.34")
# Kinds of operators, whose schemas the validator does not have.
FOREIGN = {"Certificate", "Issuer", "PodMonitor", "PrometheusRule", "ScaledObject"}
# Checkov's policies that these manifests do not follow, and why.
SUPPRESSED = {
    "CKV_K8S_14": "images are built on the spot; the cloud overlay shows where tags go",
    "CKV_K8S_43": "the same: an image without a registry has no digest",
    "CKV_K8S_35": "the command reads the password of a broker from its environment",
    "CKV_K8S_15": "Always would pull local images from a registry that does not have them",
}
# Validates each line of JSON, and prints a line for it: what is wrong, or nothing.
_VALIDATOR = """
import json, sys
import kubernetes_validate
for line in sys.stdin:
    manifest, versions = json.loads(line)
    try:
        for version in versions:
            kubernetes_validate.validate(manifest, version, strict=True)
        print("null", flush=True)
    except Exception as problem:
        print(json.dumps(f"{version}: {problem}"), flush=True)
"""


class Validator:
    """Validates manifests against the schemas of several versions of Kubernetes.

    In one process of the tools' environment, which reads the schemas once; a manifest that several
    combinations have in common is validated once.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        """Use a process that runs _VALIDATOR."""
        self._process = process
        self._known: dict[str, str | None] = {}

    def faults(self, manifests: list[Manifest]) -> list[str]:
        """Return what is wrong with manifests, without those of operators."""
        assert self._process.stdin
        assert self._process.stdout
        found = []
        for manifest in manifests:
            if manifest["kind"] in FOREIGN:
                continue
            line = json.dumps([manifest, VERSIONS])
            if line not in self._known:
                self._process.stdin.write(f"{line}\n")
                self._process.stdin.flush()
                self._known[line] = json.loads(self._process.stdout.readline())
            if fault := self._known[line]:
                found.append(f"{manifest['kind']}/{manifest['metadata']['name']}: {fault}")
        return found


@pytest.fixture(scope="module")
def validator() -> Iterator[Validator]:
    require_tools()
    with subprocess.Popen(
        [TOOLS / "python", "-c", _VALIDATOR],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        # The `with` closes its stdin, at which it ends.
        yield Validator(process)


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    """The base with jobs, streams and TLS."""
    return parse(render_with(["batch", "stream", "mtls"], tmp_path_factory.mktemp("all")))


def all_faults(manifests: list[Manifest]) -> list[str]:
    return [fault for check in CHECKS for fault in check(manifests)]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_fits_the_services_and_every_kubernetes(
    overlay: str, validator: Validator
) -> None:
    rendered = parse(render_overlay(overlay))

    assert all_faults(rendered) == []
    assert validator.faults(rendered) == []
    assert len([one for one in rendered if one["kind"] not in FOREIGN]) > 25


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_component_goes_with_the_base(
    tmp_path: Path, component: str, validator: Validator
) -> None:
    rendered = parse(render_with([component], tmp_path))

    assert all_faults(rendered) == []
    assert validator.faults(rendered) == []


@pytest.mark.long
@pytest.mark.parametrize(
    "components",
    [pair for pair in combinations(COMPONENTS, 2) if pair != ALTERNATIVES],
    ids="+".join,
)
def test_two_components_go_together(
    tmp_path: Path, components: tuple[str, str], validator: Validator
) -> None:
    rendered = parse(render_with(list(components), tmp_path))

    assert all_faults(rendered) == []
    assert validator.faults(rendered) == []


TEACHING = sorted((K8S / "teaching").iterdir())


@pytest.mark.parametrize("path", TEACHING, ids=lambda path: path.name)
def test_a_teaching_manifest_is_valid_and_permitted(path: Path, validator: Validator) -> None:
    """Without an overlay, and in a namespace that enforces restricted pods."""
    restricted = K8S / "base" / "namespace.yaml"
    reading = read_text(f"{restricted.read_text()}---\n{path.read_text()}", path.name)
    for one in reading.manifests:
        if one.kind != "Namespace":
            one.body["metadata"]["namespace"] = "elastic-yolo"

    assert reading.findings == []
    assert diagnose(ManifestSet(reading.manifests)) == []
    assert validator.faults(parse(path.read_text())) == []


def test_the_teaching_job_has_the_pod_of_the_teaching_pod() -> None:
    """With a Job's own place for it."""
    job, pod = (parse(path.read_text())[0] for path in TEACHING)

    assert job["spec"]["template"]["spec"] == pod["spec"]
    assert pod["spec"]["containers"][0]["image"] == "elastic-yolo/batch"


def test_the_teaching_pod_prints_what_is_in_its_pictures(tmp_path: Path) -> None:
    """The command of its container, with the folders of the image and the volume."""
    (container,) = parse(TEACHING[1].read_text())[0]["spec"]["containers"]
    (script,) = container["args"]
    script = script.replace(" /results", f" {tmp_path}/results")
    script = script.replace("/app/", f"{ROOT}/").replace("python ", f"{sys.executable} ")

    done = subprocess.run(
        [*container["command"], script], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    summary, *results = done.stdout[done.stdout.index("manifest: ") :].splitlines()
    assert summary.endswith("manifest.json")
    assert {"scene-01.jpg", "scene-10.bmp"} <= {json.loads(line)["picture"] for line in results}


def test_without_keda_an_hpa_scales_the_consumers(tmp_path: Path, validator: Validator) -> None:
    rendered = parse(render_with(["stream", "stream/without-keda"], tmp_path))

    assert all_faults(rendered) == []
    assert validator.faults(rendered) == []
    assert of_kind(rendered, "ScaledObject") == []
    found = diagnose(ManifestSet(read_text(yaml.safe_dump_all(rendered), "rendered").manifests))
    # The class of a volume is the overlays' to state.
    assert {one.code for one in found} == {"PVC01"}
    (hpa,) = (
        one for one in of_kind(rendered, "HorizontalPodAutoscaler") if name_of(one) == "stream"
    )
    assert hpa["spec"]["metrics"][0]["type"] == "External"


def test_the_adapter_has_the_metric_that_the_hpa_asks_for() -> None:
    folder = K8S / "components" / "stream" / "without-keda"
    (rule,) = yaml.safe_load((folder / "adapter-rule.yaml").read_text())["rules"]["external"]
    (hpa,) = parse((folder / "hpa.yaml").read_text())
    (metric,) = hpa["spec"]["metrics"]

    name = metric["external"]["metric"]["name"]
    assert rule["seriesQuery"].startswith(f"{name}{{")
    # Each consumer reports the lag of the whole group.
    assert rule["metricsQuery"].startswith("max(")


def test_the_trigger_reads_the_stream_that_the_consumers_read(manifests: list[Manifest]) -> None:
    (scaled,) = of_kind(manifests, "ScaledObject")
    trigger = scaled["spec"]["triggers"][0]["metadata"]
    source = urlsplit(config(manifests, "stream")["SOURCE"])
    asked = parse_qs(source.query)

    assert trigger["address"] == f"{source.hostname}.elastic-yolo.svc:{source.port}"
    assert trigger["databaseIndex"] == source.path.removeprefix("/")
    assert [trigger["stream"]] == asked["stream"]
    assert [trigger["consumerGroup"]] == asked["group"]


@pytest.mark.anyio
@pytest.mark.parametrize("component", ALTERNATIVES)
async def test_keda_reads_a_metric_that_web_exports(tmp_path: Path, component: str) -> None:
    """At a port of its pods, which it is allowed to reach."""
    rendered = parse(render_with([component], tmp_path))
    app = create_app(WebSettings(preprocess_url="http://127.0.0.1:1"))
    allowed = policy(rendered, "keda")
    (rule,) = allowed["ingress"]

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://web") as web:
        metrics = (await web.get("/metrics")).text

    for one in of_kind(rendered, "ScaledObject"):
        (trigger,) = one["spec"]["triggers"]
        stated = trigger["metadata"]
        url = urlsplit(stated["url"])
        # KEDA finds the endpoints by the first two parts of the name, and the port among theirs.
        assert url.hostname == "web.elastic-yolo.svc"
        assert {"name": "http", "containerPort": url.port} in container(rendered, "web")["ports"]
        assert parse_series(stated["valueLocation"]).value_in(metrics) == 0
        assert stated["format"] == "prometheus"
        assert (stated["aggregateFromKubeServiceEndpoints"], stated["aggregationType"]) == (
            "true",
            "sum",
        )
    assert allowed["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "web"}
    assert rule["ports"] == [{"protocol": "TCP", "port": "http"}]
    keda = {"kubernetes.io/metadata.name": "keda"}
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": keda}}]


@pytest.mark.parametrize("component", ["keda", "scale-to-zero"])
def test_keda_takes_over_the_hpa_that_a_running_system_has(component: str, tmp_path: Path) -> None:
    """Its webhook refuses a second autoscaler of a Deployment, and `apply` removes none."""
    rendered, base = parse(render_with([component], tmp_path)), parse(render_overlay("minikube"))
    running = {
        name_of(one): one["spec"]["scaleTargetRef"]["name"]
        for one in of_kind(base, "HorizontalPodAutoscaler")
    }
    for one in of_kind(rendered, "ScaledObject"):
        taken = one["metadata"]["annotations"]["scaledobject.keda.sh/transfer-hpa-ownership"]
        hpa = one["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["name"]
        assert (taken, running[hpa]) == ("true", one["spec"]["scaleTargetRef"]["name"])


def test_from_zero_pictures_are_held_for_as_long_as_a_start_takes(tmp_path: Path) -> None:
    rendered = parse(render_with(["scale-to-zero"], tmp_path))
    scaled = {name_of(one): one["spec"] for one in of_kind(rendered, "ScaledObject")}
    hpas = {name_of(one) for one in of_kind(rendered, "HorizontalPodAutoscaler")}
    web, preprocess = (config(rendered, name) for name in ("web", "preprocess"))

    # web is there to take the first picture, and ready though nothing is behind it.
    assert (set(scaled), hpas) == ({"preprocess", "inference"}, {"web"})
    assert web["READY_ALONE"] == "true"
    assert {one["minReplicaCount"] for one in scaled.values()} == {0}
    assert {one["pollingInterval"] for one in scaled.values()} == {2}
    for stated in (web, preprocess):
        settings = ForwardingSettings.model_validate(
            {"port": 1, **{name.lower(): value for name, value in stated.items()}}
        )
        assert settings.request_timeout_ms / 1000 > settings.hold_s >= 60
    # Every picture that web admits may be held.
    assert int(web["HOLD_REQUESTS"]) >= WebSettings.model_fields["max_in_flight"].default


def test_the_validator_refuses_what_a_schema_does_not_allow(
    manifests: list[Manifest], validator: Validator
) -> None:
    wrong = copy.deepcopy(manifests)
    deployment(wrong, "web")["spec"]["replicaz"] = 2

    (fault,) = validator.faults(wrong)
    assert fault.startswith(f"Deployment/web: {VERSIONS[0]}: ")
    assert "replicaz" in fault


def test_every_pod_may_run_where_restricted_is_enforced(tmp_path: Path) -> None:
    """Checkov checks the Pod Security Standard, and more."""
    require_tools()
    (tmp_path / "all.yaml").write_text(
        render_with(["gpu", "ingress", "batch", "stream", "mtls"], tmp_path)
    )
    done = subprocess.run(
        [
            *(TOOLS / "checkov", "--framework", "kubernetes", "--quiet", "--compact"),
            *("--output", "json", "--skip-check", ",".join(SUPPRESSED)),
            *("--file", tmp_path / "all.yaml"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    found: dict[str, Any] = json.loads(done.stdout)
    assert [one["check_id"] for one in found["results"]["failed_checks"]] == []
    assert found["summary"]["passed"] > 400


def test_the_job_provisions_the_model_that_inference_serves(manifests: list[Manifest]) -> None:
    wanted = read_models_config(K8S / "base" / "models-to-provision.yaml").used_by(["inference"])
    places = [f"store:/models/{one.name}@{channel}" for one in wanted for channel in one.channels]

    assert config(manifests, "inference")["MODEL_PATH"] in places
    assert "models.yaml" in named(manifests, "ConfigMap", "models")["data"]


def test_the_embedded_model_is_provisioned_from_the_image(tmp_path: Path) -> None:
    """With the component, the job publishes the image's files, and inference serves them."""
    rendered = parse(render_with(["embedded-model"], tmp_path))
    text = named(rendered, "ConfigMap", "models")["data"]["models.yaml"]
    # In the image, this repository's folder is /app.
    local = tmp_path / "models.yaml"
    local.write_text(text.replace("source: /app/", f"source: {ROOT}/"))
    (wanted,) = read_models_config(local).used_by(["inference"])
    store = tmp_path / "store"

    status, out, err = run("provision", "--store", store, "--config", local, "--for", "inference")

    assert f"source: /app/{DEMO_MODEL.relative_to(ROOT)}" in text
    assert status == 0, err
    assert out.startswith("demo 1: published"), out
    stated = config(rendered, "inference")["MODEL_PATH"]
    assert stated == f"store:/models/{wanted.name}@stable"
    files = resolve(parse_reference(stated.replace("/models", str(store)))).folder
    assert {path.name for path in files.iterdir()} >= set(wanted.files)


def test_an_edited_models_yaml_changes_nothing_but_its_config_map(tmp_path: Path) -> None:
    """Jobs cannot be changed: `kubectl apply` after an edit failed while the first one existed."""
    base = tmp_path / "base"
    shutil.copytree(K8S / "base", base)
    before = parse(render(base))
    with (base / "models-to-provision.yaml").open("a") as file:
        file.write("  - zoo: yolov3\n")
    after = parse(render(base))

    changed = [one for one in after if one not in before]
    assert [(one["kind"], name_of(one)) for one in changed] == [("ConfigMap", "models")]
    assert len(before) == len(after)


def named(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    return next(one for one in of_kind(manifests, kind) if one["metadata"]["name"] == name)


def deployment(manifests: list[Manifest], name: str) -> Manifest:
    return named(manifests, "Deployment", name)


def container(manifests: list[Manifest], name: str) -> Any:
    return deployment(manifests, name)["spec"]["template"]["spec"]["containers"][0]


def config(manifests: list[Manifest], name: str) -> Any:
    maps = of_kind(manifests, "ConfigMap")
    return next(one["data"] for one in maps if one["metadata"]["name"].startswith(f"{name}-"))


def policy(manifests: list[Manifest], name: str) -> Any:
    return named(manifests, "NetworkPolicy", name)["spec"]


def service(manifests: list[Manifest], name: str) -> Any:
    return named(manifests, "Service", name)["spec"]


def batch_job(manifests: list[Manifest]) -> Any:
    return named(manifests, "CronJob", "batch")["spec"]["jobTemplate"]["spec"]


def replace_argument(template: Manifest, old: str, new: str) -> None:
    arguments = template["spec"]["containers"][0]["args"]
    arguments[arguments.index(old)] = new


Mutation = Callable[[list[Manifest]], object]

# Each has one mistake, and the check that must find it.
MISTAKES: list[tuple[str, Mutation, Check]] = [
    (
        "a wrong selector",
        lambda all_: service(all_, "web")["selector"].update({"app.kubernetes.io/name": "wbe"}),
        checks.selectors_choose_something,
    ),
    (
        "a Deployment that does not select its pods",
        lambda all_: deployment(all_, "web")["spec"]["template"]["metadata"]["labels"].clear(),
        checks.selectors_choose_something,
    ),
    (
        "a wrong port of a container",
        lambda all_: container(all_, "inference")["ports"][0].update(containerPort=4003),
        checks.ports_are_those_of_the_services,
    ),
    (
        "a wrong port of a Service",
        lambda all_: service(all_, "preprocess")["ports"][0].update(port=8001),
        checks.ports_are_those_of_the_services,
    ),
    (
        "a misspelt variable",
        lambda all_: config(all_, "inference").update(MODEL_PAHT="x"),
        checks.variables_exist_and_are_valid,
    ),
    (
        "an invalid value",
        lambda all_: config(all_, "web").update(DRAIN_DELAY_S="soon"),
        checks.variables_exist_and_are_valid,
    ),
    (
        "a URL of an unknown Service",
        lambda all_: config(all_, "web").update(PREPROCESS_URL="http://preprocessing:8000"),
        checks.addresses_lead_to_services,
    ),
    (
        "a policy without egress",
        lambda all_: policy(all_, "web").update(egress=[]),
        checks.addresses_lead_to_services,
    ),
    (
        "a policy that allows the wrong tier",
        lambda all_: policy(all_, "inference")["ingress"][0]["from"][0]["podSelector"].update(
            matchLabels={"app.kubernetes.io/name": "web"}
        ),
        checks.addresses_lead_to_services,
    ),
    (
        "a probe of an unknown route",
        lambda all_: container(all_, "web")["livenessProbe"]["httpGet"].update(path="/healthz"),
        checks.probes_have_real_routes,
    ),
    (
        "a probe that is missing",
        lambda all_: container(all_, "web").pop("startupProbe"),
        checks.probes_have_real_routes,
    ),
    (
        "a probe of a port with TLS",
        lambda all_: container(all_, "inference")["readinessProbe"]["httpGet"].update(port="http"),
        checks.probes_have_real_routes,
    ),
    (
        "a certificate without the name of the Service",
        lambda all_: named(all_, "Certificate", "inference-tls")["spec"].update(dnsNames=["x"]),
        checks.certificates_have_the_names_of_urls,
    ),
    (
        "a caller whose certificate is for servers only",
        lambda all_: named(all_, "Certificate", "web-tls")["spec"].update(usages=["server auth"]),
        checks.certificates_have_the_names_of_urls,
    ),
    (
        "files of TLS that are not mounted",
        lambda all_: container(all_, "web")["volumeMounts"].pop(),
        checks.certificates_have_the_names_of_urls,
    ),
    (
        "a missing CPU request",
        lambda all_: container(all_, "preprocess")["resources"]["requests"].pop("cpu"),
        checks.autoscalers_can_compute,
    ),
    (
        "replicas beside an autoscaler",
        lambda all_: deployment(all_, "web")["spec"].update(replicas=3),
        checks.autoscalers_can_compute,
    ),
    (
        "too little time to drain",
        lambda all_: config(all_, "web").update(DRAIN_DELAY_S="15"),
        checks.pods_have_time_to_drain,
    ),
    (
        "old pods that go before DNS names the new ones",
        lambda all_: deployment(all_, "preprocess")["spec"].pop("minReadySeconds"),
        checks.old_pods_serve_until_dns_names_new_ones,
    ),
    (
        "a rollout that stops the only pod first",
        lambda all_: deployment(all_, "web")["spec"]["strategy"].update(
            rollingUpdate={"maxSurge": 1, "maxUnavailable": 1}
        ),
        checks.rollouts_lose_no_only_pod,
    ),
    (
        "a rollout that needs room for a further pod",
        lambda all_: deployment(all_, "web")["spec"]["strategy"].update(
            rollingUpdate={"maxSurge": 1, "maxUnavailable": 0}
        ),
        checks.rollouts_lose_no_only_pod,
    ),
    (
        "a startup probe that is too short",
        lambda all_: config(all_, "inference").update(MODEL_WAIT_S="600"),
        checks.slow_starts_are_waited_for,
    ),
    (
        "an image that is not built",
        lambda all_: container(all_, "web").update(image="elastic-yolo/webb"),
        checks.images_are_built_here,
    ),
    (
        "a first job that differs",
        lambda all_: of_kind(all_, "Job")[0]["spec"].update(backoffLimit=0),
        checks.the_first_job_is_the_usual_one,
    ),
    (
        "a cache that is not filled",
        lambda all_: config(all_, "inference").update(CACHE_DIR="/tmp/cache"),  # noqa: S108
        checks.what_is_prepared_is_used,
    ),
    (
        "a Service whose port the pods do not have",
        lambda all_: service(all_, "redis")["ports"][0].update(targetPort="http"),
        checks.ports_are_those_of_the_services,
    ),
    (
        "an address of a broker that is not there",
        lambda all_: config(all_, "stream").update(SOURCE="redis://broker:6379/0"),
        checks.addresses_lead_to_services,
    ),
    (
        "a stream that is killed while it drains",
        lambda all_: deployment(all_, "stream")["spec"]["template"]["spec"].update(
            terminationGracePeriodSeconds=25
        ),
        checks.pods_have_time_to_drain,
    ),
    (
        "a foreign image without a version",
        lambda all_: named(all_, "StatefulSet", "redis")["spec"]["template"]["spec"]["containers"][
            0
        ].update(image="redis"),
        checks.images_are_built_here,
    ),
    (
        "more threads than CPUs",
        lambda all_: replace_argument(batch_job(all_)["template"], "--threads=1", "--threads=4"),
        checks.engines_have_the_threads_of_their_limit,
    ),
    (
        "an option that the command does not have",
        lambda all_: replace_argument(batch_job(all_)["template"], "--completions=4", "--parts=4"),
        checks.commands_are_accepted,
    ),
    (
        "fewer parts than the pictures are divided into",
        lambda all_: batch_job(all_).update(completions=2),
        checks.every_part_of_a_job_is_done,
    ),
    (
        "a job whose pods have no number",
        lambda all_: batch_job(all_).pop("completionMode"),
        checks.every_part_of_a_job_is_done,
    ),
    (
        "the number of no pod",
        lambda all_: replace_argument(
            batch_job(all_)["template"], "--index=$(JOB_COMPLETION_INDEX)", "--index=0"
        ),
        checks.every_part_of_a_job_is_done,
    ),
    (
        "one folder for all jobs",
        lambda all_: replace_argument(
            batch_job(all_)["template"],
            "--output=/pictures/results/$(JOB_NAME)",
            "--output=/pictures/results",
        ),
        checks.every_part_of_a_job_is_done,
    ),
    (
        "another store",
        lambda all_: config(all_, "inference").update(MODEL_PATH="store:/other/yolov3-tiny@stable"),
        checks.what_is_prepared_is_used,
    ),
]


@pytest.mark.parametrize(
    ("mistake", "check"),
    [(mistake, check) for _, mistake, check in MISTAKES],
    ids=[what for what, _, _ in MISTAKES],
)
def test_a_check_finds_its_mistake(
    manifests: list[Manifest], mistake: Mutation, check: Check
) -> None:
    wrong = copy.deepcopy(manifests)
    mistake(wrong)

    assert list(check(manifests)) == []
    assert list(check(wrong)) != []


def test_every_check_has_a_mistake_that_it_finds() -> None:
    assert {check for _, _, check in MISTAKES} == set(CHECKS)


def test_with_the_live_view_web_may_read_autoscalers_and_nothing_else(tmp_path: Path) -> None:
    rendered = parse(render_with(["live", "keda"], tmp_path))
    (role,) = of_kind(rendered, "Role")
    (binding,) = of_kind(rendered, "RoleBinding")
    tokens = {
        name: template["spec"]["automountServiceAccountToken"]
        for name, template in pod_templates(rendered)
        if name in ("web", "preprocess", "inference")
    }

    assert role["rules"] == [
        {
            "apiGroups": ["autoscaling"],
            "resources": ["horizontalpodautoscalers"],
            "verbs": ["get", "list"],
        }
    ]
    assert binding["roleRef"]["name"] == name_of(role)
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": "web", "namespace": "elastic-yolo"}
    ]
    assert tokens == {"web": True, "preprocess": False, "inference": False}
    assert config(rendered, "web")["LIVE_AUTOSCALERS"] == "kubernetes"


def test_without_the_live_component_no_pod_has_a_token(manifests: list[Manifest]) -> None:
    for name, template in pod_templates(manifests):
        assert template["spec"]["automountServiceAccountToken"] is False, name
