"""Tests of a webhook as a sink."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from typing import Any

import pytest

from elastic_yolo.lab.processes.stack import free_port
from elastic_yolo.stream.errors import BadAddress, Refused, Unavailable
from elastic_yolo.stream.sinks.webhook import WebhookSink
from tests.stream.seen import seen
from tests.stream.webhook_receiver import receiving

STAYS = [seen(at / 2, "person") for at in range(4)]


@contextmanager
def sink_to(address: str, debounce_s: float = 1) -> Iterator[WebhookSink]:
    sink = WebhookSink(address, debounce_s)
    try:
        yield sink
    finally:
        sink.close()


def test_events_are_posted_and_results_without_one_are_not() -> None:
    with receiving() as receiver, sink_to(receiver.url) as sink:
        sink.write(STAYS[:2])
        assert receiver.bodies == []
        sink.write(STAYS[2:])
        (body,) = receiver.bodies
    (event,) = body["events"]
    assert event == {
        "id": event["id"],
        "event": "entered",
        "source": "yard",
        "label": "person",
        "count": 1,
        "was": 0,
        "at": 0,
        "result": STAYS[2].id,
    }


def test_results_are_posted_if_asked_for() -> None:
    with receiving() as receiver, sink_to(f"{receiver.url}?token=a%20b&send=results&x=") as sink:
        sink.write(STAYS)
    assert receiver.paths == ["/hook?token=a%20b&x="]
    assert [one["id"] for one in receiver.bodies[0]["results"]] == [one.id for one in STAYS]
    assert sink.name == f"{receiver.url}?token=***&x="


def test_many_results_are_posted_in_parts() -> None:
    with receiving() as receiver, sink_to(f"{receiver.url}?send=results") as sink:
        sink.write([seen(at) for at in range(250)])
    assert [len(body["results"]) for body in receiver.bodies] == [100, 100, 50]


def test_a_login_is_sent_and_not_shown() -> None:
    with receiving() as receiver:
        with sink_to(receiver.url.replace("//", "//user:s%40crt@"), 0) as sink:
            sink.write([seen(1, "person")])
        assert receiver.logins == ["Basic dXNlcjpzQGNydA=="]
        assert sink.name == receiver.url


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/services/T01/B02/abcdefghijklmnopqrstuvwx", "/services/T01/B02/***93b0cabf"),
        ("/bot123456:abcdefghijklmnop/sendMessage", "/***c5a686d2/sendMessage"),
        ("/events/yard?token=abc", "/events/yard?token=***"),
    ],
)
def test_a_key_in_the_path_or_the_query_is_not_shown(path: str, shown: str) -> None:
    with sink_to(f"http://hooks.example{path}") as sink:
        assert sink.name == f"http://hooks.example{shown}"


# A date, which the test writes when it runs.
_IN_1000_S = "in 1000 seconds"


@pytest.mark.parametrize(
    ("headers", "asked_s"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": _IN_1000_S}, 1000),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "9999999"}, 9999999),
        ({}, None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_receiver_that_is_busy_gets_the_same_events_later(
    status: int, headers: dict[str, str], asked_s: float | None
) -> None:
    if headers == {"Retry-After": _IN_1000_S}:
        headers = {"Retry-After": formatdate(time.time() + 1000, usegmt=True)}
    with receiving(lambda _: (status, headers)) as receiver, sink_to(receiver.url) as sink:
        with pytest.raises(Unavailable, match=str(status)) as raised:
            sink.write(STAYS)
        receiver.respond = lambda _: (200, {})
        sink.write(STAYS)
        sink.write(STAYS)
    assert raised.value.retry_after_s == (asked_s and pytest.approx(asked_s, abs=60))
    first, second = receiver.bodies
    assert first == second


def test_a_receiver_that_is_not_there_gets_the_events_later() -> None:
    address = f"http://user:secret@127.0.0.1:{free_port()}/hook"
    with sink_to(address) as sink, pytest.raises(Unavailable, match="onnect") as raised:
        sink.write(STAYS)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_what_the_receiver_finds_invalid_is_left_out_alone(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    results = [seen(at) for at in range(20)]

    def respond(body: dict[str, Any]) -> tuple[int, dict[str, str]]:
        ids = [one["id"] for one in body["results"]]
        received.extend(ids if results[13].id not in ids else [])
        return (status, {}) if results[13].id in ids else (204, {})

    received: list[str] = []
    with receiving(respond) as receiver, sink_to(f"{receiver.url}?send=results") as sink:
        sink.write(results)
    assert received == [one.id for one in results if one is not results[13]]
    assert sink.refused == 1
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert f"{status}: because of this; {results[13].id} is left out" in record.getMessage()


@pytest.mark.parametrize(
    ("status", "headers", "reason"),
    [
        (301, {"Location": "https://u:secret@other.example/"}, "redirects to https://other.examp"),
        (401, {}, "401"),
        (404, {}, "404"),
        (405, {}, "405"),
    ],
)
def test_a_receiver_that_accepts_nothing_here_is_given_up(
    status: int, headers: dict[str, str], reason: str
) -> None:
    with (
        receiving(lambda _: (status, headers)) as receiver,
        sink_to(receiver.url) as sink,
        pytest.raises(Refused, match=reason) as raised,
    ):
        sink.write(STAYS)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("address", ["https:///hook", "ftp://host/", "https://host/?send=all"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(BadAddress, match="expected"):
        WebhookSink(address)
