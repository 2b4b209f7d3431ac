"""Traces when something fails: the next service, the caller, or the collector."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import orjson
import pytest

from elastic_yolo.lab.processes.stack import Stack, free_port
from tests.support.collector import Collector, Span
from tests.support.tiny import write_tiny_model
from tests.support.tracing import (
    JPEG,
    TIERS,
    TracedStack,
    caller,
    listener,
    post,
    traced_services,
    web_alone,
)
from tests.support.waiting import in_flight, wait_until


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TracedStack]:
    with traced_services(tmp_path_factory.mktemp("traced")) as running:
        yield running


def test_an_unreachable_next_service_fails_both_spans(tmp_path: Path) -> None:
    sender = caller()
    nowhere = f"http://127.0.0.1:{free_port()}"
    with (
        Collector().running() as collector,
        web_alone(tmp_path, collector, nowhere, HOLD_S="0") as web,
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
    # One address may be that of many processes, so a new connection is tried.
    for span in (first, second):
        assert (span.kind, span.failed, span.parent) == ("CLIENT", True, server.span_id)
        assert span.attributes["error.type"] == "NotConnected"
        assert "http.response.status_code" not in span.attributes
    assert "http.request.resend_count" not in first.attributes
    assert second.attributes["http.request.resend_count"] == 1


def test_the_time_in_which_a_picture_is_held_is_a_span(tmp_path: Path) -> None:
    sender = caller()
    nowhere = f"http://127.0.0.1:{free_port()}"
    with (
        Collector().running() as collector,
        web_alone(tmp_path, collector, nowhere, HOLD_S="0.2") as web,
    ):
        assert post(web.url, sender.headers).status_code == 503
        wait_until(lambda: len(collector.of(sender.trace_id)) == 4, "all spans")

    (held,) = [span for span in collector.of(sender.trace_id) if span.name == "web_hold"]
    assert held.kind == "INTERNAL"
    assert held.end - held.begin >= 0.19 * 1e9


def test_a_retry_on_another_endpoint_has_its_own_span(traced: TracedStack, tmp_path: Path) -> None:
    collector = traced.collector
    good = traced.stack.preprocess

    def retried() -> list[Span]:
        return [s for s in list(collector.spans) if "http.request.resend_count" in s.attributes]

    with (
        listener(hang_up=True) as bad,
        web_alone(tmp_path, collector, f"{bad},{good.url}") as web,
    ):
        # The first of the two is chosen at random.
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


def test_a_caller_that_hangs_up_fails_the_spans_without_a_status(tmp_path: Path) -> None:
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
            wait_until(lambda: in_flight(web.url) == 1, "the request is in flight")
        wait_until(lambda: len(collector.of(sender.trace_id)) == 2, "both spans")

    server, client = collector.of(sender.trace_id)
    assert (server.failed, server.attributes["error.type"]) == (True, "caller_left")
    assert "http.response.status_code" not in server.attributes
    assert (client.failed, client.attributes["error.type"]) == (True, "CancelledError")
    assert server.attributes["server.address"] == "web"


@pytest.mark.parametrize("trouble", ["unreachable", "hangs", "answers 500", "answers 503"])
def test_a_failing_collector_delays_no_request_and_no_drain(tmp_path: Path, trouble: str) -> None:
    collector = Collector(
        status=int(trouble[-3:]) if trouble.startswith("answers") else 200,
        hangs=trouble == "hangs",
    )
    with ExitStack() as running:
        if trouble == "unreachable":
            collector.port = free_port()
        else:
            running.enter_context(collector.running())
        # Every span is a batch of its own, and each batch fails.
        small = {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1", "OTEL_BSP_MAX_QUEUE_SIZE": "16"}
        env = {name: {**collector.env, **small} for name in TIERS}
        model = write_tiny_model(tmp_path / "tiny")
        stack = running.enter_context(Stack(model=model, logs=tmp_path, env=env))

        statuses = {post(stack.web.url).status_code for _ in range(20)}
        if trouble != "unreachable":
            wait_until(lambda: collector.requests >= 3, "all three try to send")
        stopped = [service.process for service in reversed(stack.services)]
        for process in stopped:
            process.send_signal(signal.SIGTERM)
        # The SDK alone would take half a minute.
        ended = [process.wait(10) for process in stopped]

    assert statuses == {200}
    assert ended == [0, 0, 0]
    for name in TIERS:
        log = (tmp_path / f"{name}.log").read_text()
        assert "Traceback" not in log
        logged = [one for one in map(orjson.loads, log.splitlines()) if "span" in one["event"]]
        assert len({one["event"] for one in logged}) == len(logged) <= 4, logged


def test_pending_spans_are_sent_when_the_process_ends(tmp_path: Path) -> None:
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
