"""Traces: one for each picture, of the caller's making, and never at a request's cost."""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from starlette.datastructures import Headers

from elastic_yolo import __version__
from elastic_yolo.lab.processes.stack import ROOT, Service, Stack, free_port
from services.common.core.settings import variables
from services.common.core.trace_settings import TraceSettings, start_tracing
from services.common.observe.tracing import RequestTrace, Tracing
from services.common.request.context import Deadline, RequestContext
from tests.support.collector import Collector, Span
from tests.support.pictures import encode, plain
from tests.support.tiny import write_tiny_model
from tests.support.waiting import in_flight, wait_until

JPEG = encode(plain(64, 48), "JPEG")
TIERS = ("web", "preprocess", "inference")
PHASES = {"decode_queue", "decode", "letterbox", "queue", "engine", "heads"}


@dataclass(frozen=True)
class Caller:
    """Somebody who has a trace already, and says so."""

    trace_id: str
    span_id: str
    sampled: bool = True

    @property
    def headers(self) -> dict[str, str]:
        flags = "01" if self.sampled else "00"
        return {
            "traceparent": f"00-{self.trace_id}-{self.span_id}-{flags}",
            "tracestate": "vendor=opaque,other=1",
        }


def caller(*, sampled: bool = True) -> Caller:
    return Caller(secrets.token_hex(16), secrets.token_hex(8), sampled)


def post(url: str, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.post(
        f"{url}/inference",
        content=JPEG,
        headers={"Content-Type": "image/jpeg", **(headers or {})},
        timeout=30,
    )


@dataclass(frozen=True)
class Traced:
    """The three services, who gets their spans, and where their logs are."""

    stack: Stack
    collector: Collector
    logs: Path

    def lines(self, service: str) -> list[dict[str, object]]:
        lines = (self.logs / f"{service}.log").read_bytes().splitlines()
        return [orjson.loads(line) for line in lines if line.startswith(b"{")]


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    folder = tmp_path_factory.mktemp("traced")
    model = write_tiny_model(folder / "tiny")
    with Collector().running() as collector:
        env = dict.fromkeys(TIERS, collector.env)
        with Stack(model=model, logs=folder, env=env) as stack:
            # The first picture asks for the model as well.
            assert post(stack.web.url).status_code == 200
            yield Traced(stack, collector, folder)


@contextmanager
def web_alone(folder: Path, collector: Collector, preprocess: str, **env: str) -> Iterator[Service]:
    """Run a web service in front of whatever is at `preprocess`, up to its being reachable."""
    settings = {"PREPROCESS_URL": preprocess, **collector.env, **env}
    with Service("web", free_port(), settings, folder / "web.log") as web:
        wait_until(lambda: _lives(web), "web listens")
        yield web


def _lives(service: Service) -> bool:
    try:
        return httpx.get(f"{service.url}/livez").status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def listener(*, hang_up: bool) -> Iterator[str]:
    """Take connections on loopback and say nothing; with `hang_up` end them at once."""
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", free_port())) as server:

        def take() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                if hang_up:
                    connection.close()
                else:
                    held.append(connection)

        threading.Thread(target=take, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        # Wakes the thread, which a mere close would not.
        server.shutdown(socket.SHUT_RDWR)
    for connection in held:
        connection.close()


def only(spans: list[Span], name: str, kind: str = "INTERNAL") -> Span:
    found = [span for span in spans if (span.name, span.kind) == (name, kind)]
    assert len(found) == 1, [(span.service, span.kind, span.name) for span in spans]
    return found[0]


def test_a_picture_is_one_trace_through_the_three_services(traced: Traced) -> None:
    sender = caller()

    assert post(traced.stack.web.url, sender.headers).status_code == 200

    spans = traced.collector.wait(sender.trace_id, sender.span_id)
    by_id = {span.span_id: span for span in spans}
    found = {
        (
            span.service,
            span.kind,
            span.name,
            by_id[span.parent].name if span.parent in by_id else "caller",
        )
        for span in spans
    }
    infer = "POST /v2/models/{name}/infer"
    assert found == {
        ("elastic-yolo-web", "SERVER", "POST /inference", "caller"),
        ("elastic-yolo-web", "CLIENT", "POST", "POST /inference"),
        ("elastic-yolo-preprocess", "SERVER", "POST /process", "POST"),
        ("elastic-yolo-preprocess", "INTERNAL", "decode_queue", "POST /process"),
        ("elastic-yolo-preprocess", "INTERNAL", "decode", "POST /process"),
        ("elastic-yolo-preprocess", "INTERNAL", "letterbox", "POST /process"),
        ("elastic-yolo-preprocess", "CLIENT", "POST", "POST /process"),
        ("elastic-yolo-inference", "SERVER", infer, "POST"),
        ("elastic-yolo-inference", "INTERNAL", "queue", infer),
        ("elastic-yolo-inference", "INTERNAL", "engine", infer),
        ("elastic-yolo-inference", "INTERNAL", "heads", infer),
    }
    assert len(spans) == len(found)
    assert {span.state for span in spans} == {"vendor=opaque,other=1"}
    assert not any(span.failed for span in spans)


def test_spans_begin_and_end_within_the_one_they_belong_to(traced: Traced) -> None:
    sender = caller()

    post(traced.stack.web.url, sender.headers)

    spans = traced.collector.wait(sender.trace_id, sender.span_id)
    by_id = {span.span_id: span for span in spans}
    children = [span for span in spans if span.parent in by_id]
    assert len(children) == 10
    for span in children:
        parent = by_id[span.parent]
        assert parent.begin <= span.begin <= span.end, span.name
        # Another process may end its own after its answer has arrived.
        last = span.end if parent.service == span.service else span.begin
        assert last <= parent.end, span.name


def test_phases_last_as_long_as_server_timing_says(traced: Traced) -> None:
    sender = caller()

    answer = post(traced.stack.web.url, sender.headers)

    said = dict(re.findall(r"([a-z_]+);dur=([0-9.]+)", answer.headers["server-timing"]))
    spans = traced.collector.wait(sender.trace_id, sender.span_id)
    lasted = {span.name: (span.end - span.begin) / 1e6 for span in spans if span.name in PHASES}
    assert lasted.keys() == PHASES
    assert lasted == {name: pytest.approx(float(said[name]), abs=0.006) for name in PHASES}


def test_spans_say_what_the_conventions_ask_for(traced: Traced) -> None:
    sender, stack = caller(), traced.stack
    uid = secrets.token_hex(16)
    headers = {**sender.headers, "X-Request-ID": uid, "User-Agent": "tests"}

    answer = httpx.post(
        f"{stack.web.url}/inference?threshold=0.25", files={"image": JPEG}, headers=headers
    )

    spans = traced.collector.wait(sender.trace_id, sender.span_id)
    model = {f"elastic_yolo.model.{key}": value for key, value in answer.json()["model"].items()}
    assert len(model) == 3
    server = only(spans, "POST /inference", "SERVER")
    assert server.attributes == {
        "http.request.method": "POST",
        "http.route": "/inference",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "url.path": "/inference",
        "url.query": "threshold=0.25",
        "network.protocol.version": "1.1",
        "server.address": "127.0.0.1",
        "server.port": stack.web.port,
        "user_agent.original": "tests",
        "elastic_yolo.request_id": uid,
        **model,
    }
    (client,) = [span for span in spans if span.parent == server.span_id]
    assert client.attributes == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "url.full": f"{stack.preprocess.url}/process?threshold=0.25",
        "network.protocol.version": "1.1",
        "network.peer.address": "127.0.0.1",
        "network.peer.port": stack.preprocess.port,
        "server.address": "127.0.0.1",
        "server.port": stack.preprocess.port,
    }
    for span in spans:
        if span.kind == "SERVER":
            assert span.attributes["elastic_yolo.request_id"] == uid
            assert model.items() <= span.attributes.items()


def test_a_process_says_who_it_is(traced: Traced) -> None:
    sender = caller()

    post(traced.stack.web.url, sender.headers)

    spans = traced.collector.wait(sender.trace_id, sender.span_id)
    processes = {span.service: span.resource for span in spans}
    assert processes.keys() == {f"elastic-yolo-{name}" for name in TIERS}
    assert {resource["service.version"] for resource in processes.values()} == {__version__}
    assert len({resource["service.instance.id"] for resource in processes.values()}) == 3


def test_log_lines_name_the_span_that_was_active(traced: Traced) -> None:
    sender = caller()

    post(traced.stack.web.url, sender.headers)

    spans = traced.collector.wait(sender.trace_id, sender.span_id)
    for name in TIERS:
        served = {span.span_id for span in spans if span.service.endswith(name)}
        (line,) = [one for one in traced.lines(name) if one.get("trace_id") == sender.trace_id]
        assert line["event"] == "request"
        assert line["span_id"] in served
        assert "trace_id" not in traced.lines(name)[0]


def test_a_caller_that_is_not_sampled_gets_no_spans_but_its_trace_is_handed_on(
    traced: Traced,
) -> None:
    unsampled, later = caller(sampled=False), caller()

    assert post(traced.stack.web.url, unsampled.headers).status_code == 200
    assert post(traced.stack.web.url, later.headers).status_code == 200

    traced.collector.wait(later.trace_id, later.span_id)
    assert traced.collector.of(unsampled.trace_id) == []
    for name in TIERS:
        assert unsampled.trace_id in [line.get("trace_id") for line in traced.lines(name)]


@pytest.mark.parametrize(
    "header",
    [
        "",
        "nonsense",
        "00-{trace}-{span}",
        "00-{trace}-{span}-01-more",
        "ff-{trace}-{span}-01",
        "00-" + "0" * 32 + "-{span}-01",
        "00-{trace}-" + "0" * 16 + "-01",
        "01-{trace}-{span}-01-" + "x" * 600,
    ],
)
def test_a_malformed_traceparent_starts_a_new_trace(traced: Traced, header: str) -> None:
    sender = caller()
    uid = secrets.token_hex(16)
    sent = header.format(trace=sender.trace_id, span=sender.span_id)

    assert post(traced.stack.web.url, {"traceparent": sent, "X-Request-ID": uid}).is_success

    def roots() -> list[Span]:
        return [
            span
            for span in list(traced.collector.spans)
            if span.attributes.get("elastic_yolo.request_id") == uid and not span.parent
        ]

    wait_until(lambda: bool(roots()), "a root")
    assert [root.name for root in roots()] == ["POST /inference"]
    assert traced.collector.of(sender.trace_id) == []


def test_two_callers_cannot_both_be_the_parent(traced: Traced) -> None:
    first, second, uid = caller(), caller(), secrets.token_hex(16)
    headers = [("traceparent", one.headers["traceparent"]) for one in (first, second)]
    headers += [("X-Request-ID", uid), ("Content-Type", "image/jpeg")]

    httpx.post(f"{traced.stack.web.url}/inference", content=JPEG, headers=headers)

    wait_until(lambda: uid in str(traced.collector.spans), "its spans")
    assert traced.collector.of(first.trace_id) == traced.collector.of(second.trace_id) == []


def test_probes_and_metrics_are_not_traced(traced: Traced) -> None:
    for service in (traced.stack.web, traced.stack.preprocess, traced.stack.inference):
        for path in ("/livez", "/readyz", "/health/ping", "/metrics"):
            assert httpx.get(service.url + path, headers=caller().headers).status_code == 200
    assert httpx.get(f"{traced.stack.inference.url}/v2/health/ready").status_code == 200
    last = caller()

    post(traced.stack.web.url, last.headers)

    traced.collector.wait(last.trace_id, last.span_id)
    paths = {span.attributes.get("url.path", "") for span in traced.collector.spans}
    assert "/inference" in paths
    assert not [path for path in paths if "health" in path or path.endswith("z")]
    assert "/metrics" not in paths


def test_what_a_caller_did_wrong_fails_the_attempts_but_not_the_services(traced: Traced) -> None:
    sender = caller()

    answer = httpx.post(
        f"{traced.stack.web.url}/inference?model=nobody",
        files={"image": JPEG},
        headers=sender.headers,
    )
    assert answer.status_code == 404

    spans = traced.collector.wait(sender.trace_id, sender.span_id)
    servers = [span for span in spans if span.kind == "SERVER"]
    clients = [span for span in spans if span.kind == "CLIENT"]
    assert [span.attributes["http.response.status_code"] for span in servers] == [404] * 3
    assert not any(span.failed or "error.type" in span.attributes for span in servers)
    assert [span.failed for span in clients] == [True, True]
    assert [span.attributes["error.type"] for span in clients] == ["404", "404"]


def test_a_path_that_no_route_has_is_no_name(traced: Traced) -> None:
    sender = caller()

    httpx.request("PURGE", f"{traced.stack.web.url}/nowhere/42", headers=sender.headers)
    (span,) = traced.collector.wait(sender.trace_id, sender.span_id)

    assert span.name == "HTTP"
    assert span.attributes["http.request.method"] == "_OTHER"
    assert span.attributes["http.request.method_original"] == "PURGE"
    assert span.attributes["http.response.status_code"] == 404
    assert "http.route" not in span.attributes


def test_a_service_behind_that_is_away_is_an_error_in_both_spans(tmp_path: Path) -> None:
    sender = caller()
    nowhere = f"http://127.0.0.1:{free_port()}"
    with (
        Collector().running() as collector,
        web_alone(tmp_path, collector, nowhere) as web,
    ):
        assert post(web.url, sender.headers).status_code == 503
        wait_until(lambda: len(collector.of(sender.trace_id)) == 3, "both attempts")

    server, first, second = collector.of(sender.trace_id)
    assert (server.name, server.failed, server.attributes["error.type"]) == (
        "POST /inference",
        True,
        "503",
    )
    assert server.attributes["http.response.status_code"] == 503
    # One address may stand for many processes: a new connection is tried.
    for span in (first, second):
        assert (span.kind, span.failed, span.parent) == ("CLIENT", True, server.span_id)
        assert span.attributes["error.type"] == "ConnectionFailed"
        assert "http.response.status_code" not in span.attributes
    assert "http.request.resend_count" not in first.attributes
    assert second.attributes["http.request.resend_count"] == 1


def test_a_retry_on_another_process_shows_as_two_attempts(traced: Traced, tmp_path: Path) -> None:
    collector = traced.collector
    good = traced.stack.preprocess

    def retried() -> list[Span]:
        return [s for s in list(collector.spans) if "http.request.resend_count" in s.attributes]

    with (
        listener(hang_up=True) as bad,
        web_alone(tmp_path, collector, f"{bad},{good.url}") as web,
    ):
        # Which of the two is asked first is a matter of luck.
        wait_until(lambda: post(web.url).status_code == 200 and bool(retried()), "a retry")

    (second,) = retried()
    (first,) = [
        span
        for span in collector.of(second.trace_id)
        if span.parent == second.parent and span is not second
    ]
    assert (first.kind, first.failed, first.attributes["error.type"]) == (
        "CLIENT",
        True,
        "ConnectionFailed",
    )
    assert f"http://127.0.0.1:{first.attributes['server.port']}" == bad
    assert (second.failed, second.attributes["server.port"]) == (False, good.port)
    assert second.attributes["http.request.resend_count"] == 1
    served = [span for span in collector.of(second.trace_id) if span.name == "POST /process"]
    assert [span.parent for span in served] == [second.span_id]


def test_a_caller_who_leaves_is_no_answer(tmp_path: Path) -> None:
    sender = caller()
    with (
        Collector().running() as collector,
        listener(hang_up=False) as silent,
        web_alone(tmp_path, collector, silent) as web,
    ):
        head = "\r\n".join(f"{name}: {value}" for name, value in sender.headers.items())
        with socket.create_connection(("127.0.0.1", web.port)) as connection:
            connection.sendall(
                f"POST /inference HTTP/1.1\r\nHost: web\r\nContent-Type: image/jpeg\r\n{head}\r\n"
                f"Content-Length: {len(JPEG)}\r\n\r\n".encode()
                + JPEG
            )
            wait_until(lambda: in_flight(web.url) == 1, "it is on its way")
        wait_until(lambda: len(collector.of(sender.trace_id)) == 2, "both spans")

    server, client = collector.of(sender.trace_id)
    assert (server.failed, server.attributes["error.type"]) == (True, "caller_left")
    assert "http.response.status_code" not in server.attributes
    assert (client.failed, client.attributes["error.type"]) == (True, "CancelledError")
    assert server.attributes["server.address"] == "web"


def test_names_and_attributes_of_the_environment_hold(tmp_path: Path) -> None:
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
        # Stopping sends what there is.
        assert web.stop() == 0

    assert bool(collector.of(sender.trace_id)) is for_callers
    assert (uid in str(collector.spans)) is for_others


@pytest.mark.parametrize("trouble", ["away", "hangs", "answers 500", "answers 503"])
def test_a_collector_in_trouble_costs_no_request_and_no_drain(tmp_path: Path, trouble: str) -> None:
    collector = Collector(
        status=int(trouble[-3:]) if trouble.startswith("answers") else 200,
        hangs=trouble == "hangs",
    )
    with ExitStack() as running:
        if trouble == "away":
            collector.port = free_port()
        else:
            running.enter_context(collector.running())
        # Every span is a batch, of which each fails.
        small = {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1", "OTEL_BSP_MAX_QUEUE_SIZE": "16"}
        env = {name: {**collector.env, **small} for name in TIERS}
        model = write_tiny_model(tmp_path / "tiny")
        stack = running.enter_context(Stack(model=model, logs=tmp_path, env=env))

        statuses = {post(stack.web.url).status_code for _ in range(20)}
        if trouble != "away":
            wait_until(lambda: collector.asked >= 3, "all three try to send")
        stopped = [service.process for service in reversed(stack.services)]
        for process in stopped:
            process.send_signal(signal.SIGTERM)
        # The library would take half a minute.
        ended = [process.wait(10) for process in stopped]

    assert statuses == {200}
    assert ended == [0, 0, 0]
    for name in TIERS:
        log = (tmp_path / f"{name}.log").read_text()
        assert "Traceback" not in log
        said = [one for one in map(orjson.loads, log.splitlines()) if "span" in one["event"]]
        assert len({one["event"] for one in said}) == len(said) <= 4, said


def test_what_was_not_sent_is_sent_at_the_end(tmp_path: Path) -> None:
    sender = caller()
    with (
        Collector().running() as collector,
        web_alone(
            tmp_path, collector, "http://127.0.0.1:1", OTEL_BSP_SCHEDULE_DELAY="600000"
        ) as web,
    ):
        httpx.get(f"{web.url}/", headers=sender.headers)
        assert collector.of(sender.trace_id) == []
        assert web.stop() == 0

    assert [span.name for span in collector.of(sender.trace_id)] == ["GET /"]


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
def test_the_library_is_imported_where_it_is_wanted_alone(
    env: dict[str, str], *, wanted: bool
) -> None:
    """FastAPI imports OpenTelemetry's API for itself; the rest is for us to decide."""
    settings = {"PREPROCESS_URL": "http://127.0.0.1:1", "HOST": "127.0.0.1", "PORT": "0", **env}
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "services.web"],
        cwd=ROOT,
        env={**_clean(), **settings},
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


ENDPOINT = "http://127.0.0.1:4318"


@pytest.mark.parametrize(
    ("env", "line"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT: "),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "x"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL: Value error, only http/protobuf",
        ),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": ENDPOINT,
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json",
            },
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: Value error, only http/protobuf",
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
def test_a_wrong_variable_ends_the_start_with_one_line(env: dict[str, str], line: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "services.web"],
        cwd=ROOT,
        env={**_clean(), "PREPROCESS_URL": "http://127.0.0.1:1", "PORT": "0", **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 2
    assert ended.stderr.startswith(line)
    assert ended.stderr.count("\n") == 1


def test_what_holds_for_other_signals_may_be_overruled_for_traces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:1/v1/traces")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf")

    tracing = start_tracing("web")

    assert isinstance(tracing, Tracing)
    tracing.close()


_LATIN = st.text(st.characters(max_codepoint=255), max_size=80)
_PROVIDER = TracerProvider(shutdown_on_exit=False)


@given(
    names=st.lists(st.sampled_from(["traceparent", "tracestate", "host", "user-agent"])),
    values=st.lists(_LATIN | st.just("00-" + "a" * 32 + "-" + "b" * 16 + "-01"), min_size=12),
    path=st.text(max_size=2000),
    query=st.binary(max_size=2000),
)
def test_nothing_that_a_stranger_sends_is_too_much(
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
    context = RequestContext("0" * 32, Deadline.after_ms(1000))
    trace = RequestTrace(_PROVIDER.get_tracer("test"), scope, headers, context)
    trace.end(None, 404)

    span = trace._span  # noqa: SLF001  # what would be sent
    attributes = getattr(span, "attributes", {})
    assert all(len(str(value)) <= 512 for value in attributes.values())


def _clean() -> dict[str, str]:
    return {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}


def test_every_variable_that_is_checked_is_documented() -> None:
    text = (ROOT / "docs" / "traces.md").read_text()

    for name in variables(TraceSettings):
        assert f"`{name}`" in text
