"""docker-compose.yml sets what the services read, and runs what build_docker.sh builds."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
import yaml

from elastic_yolo.lab.processes.stack import ROOT
from elastic_yolo.tiers import PORTS
from services.common.core.settings import ServiceSettings, variables
from services.common.core.trace_settings import TraceSettings
from services.inference.settings import InferenceSettings
from services.preprocess.settings import PreprocessSettings
from services.web.settings import WebSettings

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
KINDS: dict[str, type[ServiceSettings]] = {
    "web": WebSettings,
    "preprocess": PreprocessSettings,
    "inference": InferenceSettings,
}


def test_every_variable_is_one_that_the_service_reads() -> None:
    for name, kind in KINDS.items():
        stated = COMPOSE[name]["environment"].keys()
        assert stated <= variables(kind).keys(), name


def test_addresses_have_the_ports_that_the_services_listen_on() -> None:
    assert COMPOSE["web"]["environment"]["PREPROCESS_URL"].endswith(f":{PORTS['preprocess']}")
    assert COMPOSE["preprocess"]["environment"]["INFERENCE_URL"].endswith(f":{PORTS['inference']}")
    assert COMPOSE["web"]["ports"][0].endswith(f":{PORTS['web']}")


def test_ports_are_published_for_this_machine_only() -> None:
    """Unless a variable says otherwise, and web's alone has one."""
    published = {name: one["ports"] for name, one in COMPOSE.items() if "ports" in one}

    assert published.pop("web") == ["${WEB_HOST:-127.0.0.1}:${WEB_PORT:-5000}:5000"]
    assert published.keys() == {"load", "redis", "prometheus", "grafana"}
    for ports in published.values():
        assert [port.startswith("127.0.0.1:") for port in ports] == [True]


def test_web_takes_the_token_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty one is none."""
    stated = COMPOSE["web"]["environment"]
    name, _, default = stated["ACCESS_TOKEN"].strip("${}").partition(":-")
    monkeypatch.setenv(name, default)

    assert (name, default) == ("ACCESS_TOKEN", "")
    assert WebSettings(preprocess_url=stated["PREPROCESS_URL"]).token is None


def test_a_folder_of_ones_own_is_mounted_read_only_where_the_model_is_read_from() -> None:
    mount = "${MODEL_DIR:-./models/demo}:${MODEL_DIR:-/model}:ro"
    model = "${MODEL_DIR:-store:/models/demo@stable}"

    for name in ("inference", "inference-gpu", "batch", "stream"):
        service = COMPOSE[name]
        assert mount in service["volumes"], name
        read = service.get("command") or service["environment"]["MODEL_PATH"]
        assert model in read, name


def test_every_variable_of_the_services_is_documented() -> None:
    text = (ROOT / "docker-compose.yml").read_text().partition("\n  load:")[0]
    documented = (ROOT / "docs" / "serve.md").read_text()

    for name in set(re.findall(r"\$\{(\w+)", text)):
        assert f"`{name}`" in documented, name


def test_every_container_is_locked_down_and_bounded() -> None:
    for name in (*KINDS, "models", "batch", "redis", "stream"):
        service = COMPOSE[name]
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "mem_limit" in service, name


def test_services_have_longer_to_stop_than_they_take() -> None:
    for name, kind in KINDS.items():
        fields = kind.model_fields
        needed = fields["drain_delay_s"].default + fields["drain_timeout_s"].default
        assert int(COMPOSE[name]["stop_grace_period"].removesuffix("s")) > needed


def test_a_stream_has_longer_to_stop_than_it_drains() -> None:
    stream = COMPOSE["stream"]
    (drain_s,) = re.findall(r"--drain-timeout (\d+)", stream["command"])

    assert int(stream["stop_grace_period"].removesuffix("s")) > int(drain_s)
    assert f"--threads {stream['cpus']} " in stream["command"]


def test_images_are_those_that_are_built() -> None:
    script = (ROOT / "build_docker.sh").read_text()
    images = {
        service["image"] for service in COMPOSE.values() if "elastic-yolo/" in service["image"]
    }
    names = {re.sub(r"elastic-yolo/(inference-)?([a-z]+):.*", r"\2", image) for image in images}

    assert names >= {"web", "preprocess", "inference", "tools"}
    assert all(re.search(rf"\b{name}\b", script) for name in names)


def test_traces_go_from_every_service_to_one_collector() -> None:
    traces = yaml.safe_load((ROOT / "docker-compose.traces.yml").read_text())["services"]

    for name in KINDS:
        stated = traces[name]["environment"]
        assert stated.keys() <= variables(TraceSettings).keys(), name
        host = urlsplit(stated["OTEL_EXPORTER_OTLP_ENDPOINT"])
        assert host.hostname in traces
        assert f":{host.port}" in str(traces[host.hostname]["command"])


def test_batch_and_stream_share_the_layer_of_what_both_need() -> None:
    """An identical first stage is built once, and stored once."""
    stages = [
        (ROOT / "elastic_yolo" / f"Dockerfile.{name}").read_text().split("FROM ")[1]
        for name in ("batch", "stream")
    ]

    assert stages[0] == stages[1]
    assert "locks/detect.txt" in stages[0]
