"""The spans of a picture: their names, order, attributes and parents, and what has none."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator

import httpx
import pytest

from elastic_yolo import __version__
from tests.support.collector import Span
from tests.support.tracing import JPEG, TIERS, TracedStack, caller, only, post, traced_services
from tests.support.waiting import wait_until

PHASES = {"decode_queue", "decode", "letterbox", "queue", "engine", "heads"}


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TracedStack]:
    with traced_services(tmp_path_factory.mktemp("traced")) as running:
        yield running


def test_a_picture_is_one_trace_through_the_three_services(traced: TracedStack) -> None:
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


def test_spans_begin_and_end_within_their_parents(traced: TracedStack) -> None:
    sender = caller()

    post(traced.stack.web.url, sender.headers)

    spans = traced.collector.wait(sender.trace_id, sender.span_id)
    by_id = {span.span_id: span for span in spans}
    children = [span for span in spans if span.parent in by_id]
    assert len(children) == 10
    for span in children:
        parent = by_id[span.parent]
        assert parent.begin <= span.begin <= span.end, span.name
        # The next process may end its span after its response has arrived here.
        last = span.end if parent.service == span.service else span.begin
        assert last <= parent.end, span.name


def test_phase_spans_last_as_long_as_server_timing_says(traced: TracedStack) -> None:
    sender = caller()

    answer = post(traced.stack.web.url, sender.headers)

    measured = dict(re.findall(r"([a-z_]+);dur=([0-9.]+)", answer.headers["server-timing"]))
    spans = traced.collector.wait(sender.trace_id, sender.span_id)
    lasted = {span.name: (span.end - span.begin) / 1e6 for span in spans if span.name in PHASES}
    assert lasted.keys() == PHASES
    assert lasted == {name: pytest.approx(float(measured[name]), abs=0.006) for name in PHASES}


def test_spans_have_the_attributes_of_the_conventions(traced: TracedStack) -> None:
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


def test_each_process_has_a_resource_of_its_own(traced: TracedStack) -> None:
    sender = caller()

    post(traced.stack.web.url, sender.headers)

    spans = traced.collector.wait(sender.trace_id, sender.span_id)
    processes = {span.service: span.resource for span in spans}
    assert processes.keys() == {f"elastic-yolo-{name}" for name in TIERS}
    assert {resource["service.version"] for resource in processes.values()} == {__version__}
    assert len({resource["service.instance.id"] for resource in processes.values()}) == 3


def test_log_lines_have_the_trace_and_span_of_their_request(traced: TracedStack) -> None:
    sender = caller()

    post(traced.stack.web.url, sender.headers)

    spans = traced.collector.wait(sender.trace_id, sender.span_id)
    for name in TIERS:
        served = {span.span_id for span in spans if span.service.endswith(name)}
        (line,) = [one for one in traced.lines(name) if one.get("trace_id") == sender.trace_id]
        assert line["event"] == "request"
        assert line["span_id"] in served
        assert "trace_id" not in traced.lines(name)[0]


def test_an_unsampled_trace_has_no_spans_but_is_propagated(
    traced: TracedStack,
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
def test_a_malformed_traceparent_starts_a_new_trace(traced: TracedStack, header: str) -> None:
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


def test_two_traceparent_headers_start_a_new_trace(traced: TracedStack) -> None:
    first, second, uid = caller(), caller(), secrets.token_hex(16)
    headers = [("traceparent", one.headers["traceparent"]) for one in (first, second)]
    headers += [("X-Request-ID", uid), ("Content-Type", "image/jpeg")]

    httpx.post(f"{traced.stack.web.url}/inference", content=JPEG, headers=headers)

    wait_until(lambda: uid in str(traced.collector.spans), "its spans")
    assert traced.collector.of(first.trace_id) == traced.collector.of(second.trace_id) == []


def test_probes_and_metrics_are_not_traced(traced: TracedStack) -> None:
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


def test_a_callers_error_fails_client_spans_but_not_server_spans(traced: TracedStack) -> None:
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


def test_an_unknown_path_is_not_part_of_the_span_name(traced: TracedStack) -> None:
    sender = caller()

    httpx.request("PURGE", f"{traced.stack.web.url}/nowhere/42", headers=sender.headers)
    (span,) = traced.collector.wait(sender.trace_id, sender.span_id)

    assert span.name == "HTTP"
    assert span.attributes["http.request.method"] == "_OTHER"
    assert span.attributes["http.request.method_original"] == "PURGE"
    assert span.attributes["http.response.status_code"] == 404
    assert "http.route" not in span.attributes
