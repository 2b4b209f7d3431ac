"""The settings of traces: which turn them on, which are invalid, and what the others do."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from starlette.datastructures import Headers

from elastic_yolo.lab.processes.stack import ROOT
from services.common.core.settings import variables
from services.common.core.trace_settings import TraceSettings, start_tracing
from services.common.observe.tracing import RequestTrace, Tracing
from tests.support.collector import Collector
from tests.support.tracing import caller, web_alone

ENDPOINT = "http://127.0.0.1:4318"
_LATIN = st.text(st.characters(max_codepoint=255), max_size=80)
_PROVIDER = TracerProvider(shutdown_on_exit=False)


def clean_environment() -> dict[str, str]:
    return {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}


def test_service_name_and_attributes_come_from_the_environment(tmp_path: Path) -> None:
    env = {
        "OTEL_SERVICE_NAME": "front",
        "OTEL_RESOURCE_ATTRIBUTES": "k8s.pod.name=web-7f,service.instance.id=7f,deployment=a%2Cb",
    }
    sender = caller()
    with (
        Collector().running() as collector,
        web_alone(tmp_path, collector, "http://127.0.0.1:1", **env) as web,
    ):
        httpx.get(f"{web.url}/", headers=sender.headers)
        (span,) = collector.wait(sender.trace_id, sender.span_id)

    assert span.name == "GET /"
    assert span.resource["service.name"] == "front"
    assert span.resource["k8s.pod.name"] == "web-7f"
    assert span.resource["service.instance.id"] == "7f"
    assert span.resource["deployment"] == "a,b"


@pytest.mark.parametrize(
    ("sampler", "argument", "for_callers", "for_others"),
    [
        ("parentbased_traceidratio", "0", True, False),
        ("traceidratio", "0", False, False),
        ("always_on", "", True, True),
        ("ALWAYS_OFF", "", False, False),
    ],
)
def test_the_sampler_of_the_environment_decides(
    tmp_path: Path, sampler: str, argument: str, *, for_callers: bool, for_others: bool
) -> None:
    env = {"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": argument}
    sender, uid = caller(), secrets.token_hex(16)
    with (
        Collector().running() as collector,
        web_alone(tmp_path, collector, "http://127.0.0.1:1", **env) as web,
    ):
        httpx.get(f"{web.url}/", headers=sender.headers)
        httpx.get(f"{web.url}/", headers={"X-Request-ID": uid})
        # The process sends pending spans when it stops.
        assert web.stop() == 0

    assert bool(collector.of(sender.trace_id)) is for_callers
    assert (uid in str(collector.spans)) is for_others


@pytest.mark.parametrize(
    ("env", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}, False),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
            False,
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces"}, True),
    ],
)
def test_the_sdk_is_imported_only_if_traces_are_on(env: dict[str, str], *, wanted: bool) -> None:
    """FastAPI imports OpenTelemetry's API itself; the SDK is imported by the services."""
    settings = {"PREPROCESS_URL": "http://127.0.0.1:1", "HOST": "127.0.0.1", "PORT": "0", **env}
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "services.web"],
        cwd=ROOT,
        env={**clean_environment(), **settings},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    imported: set[str] = set()
    for line in process.stderr:
        imported.add(line.rsplit("|", 1)[-1].strip())
        if '"event":"listening"' in line:
            break
    process.terminate()
    imported |= {line.rsplit("|", 1)[-1].strip() for line in process.stderr}
    process.stderr.close()

    assert process.wait(10) == 0
    assert "fastapi" in imported
    parts = {"opentelemetry.sdk", "opentelemetry.exporter", "google.protobuf", "requests"}
    assert parts & imported == (parts if wanted else set())


@pytest.mark.parametrize(
    ("env", "line"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT: "),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "x"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL: only http/protobuf",
        ),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": ENDPOINT,
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json",
            },
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: only http/protobuf",
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": ENDPOINT, "OTEL_TRACES_SAMPLER": "some"},
            "OTEL_TRACES_SAMPLER: Input should be",
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": ENDPOINT, "OTEL_TRACES_SAMPLER_ARG": "50"},
            "OTEL_TRACES_SAMPLER_ARG: Input should be less than or equal to 1",
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": ENDPOINT, "OTEL_TRACES_EXPORTER": "jaeger"},
            "OTEL_TRACES_EXPORTER: Input should be",
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": ENDPOINT, "OTEL_BSP_MAX_QUEUE_SIZE": "-1"},
            "OTEL_...: max_queue_size must be",
        ),
    ],
)
def test_an_invalid_variable_ends_the_start_with_one_line(env: dict[str, str], line: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "services.web"],
        cwd=ROOT,
        env={**clean_environment(), "PREPROCESS_URL": "http://127.0.0.1:1", "PORT": "0", **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 2
    assert ended.stderr.startswith(line)
    assert ended.stderr.count("\n") == 1


def test_variables_for_traces_override_those_for_all_signals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:1/v1/traces")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf")

    tracing = start_tracing("web")

    assert isinstance(tracing, Tracing)
    tracing.close()


@given(
    names=st.lists(st.sampled_from(["traceparent", "tracestate", "host", "user-agent"])),
    values=st.lists(_LATIN | st.just("00-" + "a" * 32 + "-" + "b" * 16 + "-01"), min_size=12),
    path=st.text(max_size=2000),
    query=st.binary(max_size=2000),
)
def test_span_attributes_are_bounded_whatever_a_caller_sends(
    names: list[str], values: list[str], path: str, query: bytes
) -> None:
    headers = Headers(
        raw=[
            (name.encode(), value.encode("latin-1"))
            for name, value in zip(names, values, strict=False)
        ]
    )
    scope = {
        "method": "POST",
        "scheme": "http",
        "path": path,
        "http_version": "1.1",
        "query_string": query,
    }
    trace = RequestTrace(_PROVIDER.get_tracer("test"), scope, headers, "0" * 32)
    trace.end(None, 404)

    span = trace._span  # noqa: SLF001  # the SDK has no public way to read it
    attributes = getattr(span, "attributes", {})
    assert all(len(str(value)) <= 512 for value in attributes.values())


def test_every_validated_variable_is_documented() -> None:
    text = (ROOT / "docs" / "traces.md").read_text()

    for name in variables(TraceSettings):
        assert f"`{name}`" in text
