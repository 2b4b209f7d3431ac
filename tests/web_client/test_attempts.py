"""When a request is sent again, and when not: the decisions alone, without a network."""

from __future__ import annotations

import ssl

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic_yolo.client.attempts import NoReply, Send, Wait, attempts
from elastic_yolo.client.errors import (
    BadAnswer,
    Busy,
    ClientError,
    DeadlinePassed,
    NoAnswer,
    NotAllowed,
    Problem,
    Rejected,
    UnknownModel,
)
from elastic_yolo.client.reply import Reply

SERVER = "http://web:5000"
OK = Reply(200, "OK", {}, b"{}")
REFUSED = NoReply.of(httpx.ConnectError("refused"))


def problem(status: int, **headers: str) -> Reply:
    """Return a problem document with this status, and its headers."""
    content = b'{"title": "Title", "detail": "why", "uid": "abc"}'
    kind = {"content-type": "application/problem+json"}
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, "Reason", {**kind, **names}, content)


@pytest.mark.parametrize("status", [429, 502, 503])
def test_a_busy_service_is_asked_again_after_the_time_that_it_states(status: int) -> None:
    """Up to a tenth later, so that clients refused together do not return together."""
    steps = attempts(60, SERVER)

    assert isinstance(next(steps), Send)
    wait = steps.send(problem(status, retry_after="7"))
    again = steps.send(None)
    with pytest.raises(StopIteration) as ended:
        steps.send(OK)

    assert isinstance(wait, Wait)
    assert 7 <= wait.seconds <= 7.7
    assert isinstance(again, Send)
    assert ended.value.value is OK


def test_without_a_stated_time_the_waits_grow() -> None:
    steps = attempts(600, SERVER)
    next(steps)

    waits = []
    for _ in range(8):
        wait = steps.send(problem(503))
        assert isinstance(wait, Wait)
        waits.append(wait.seconds)
        steps.send(None)

    assert waits[0] <= 0.2
    assert 3.75 <= waits[-1] <= 5
    assert waits[:5] == sorted(waits[:5])


@pytest.mark.parametrize("asked", ["30", "3600"])
def test_a_wait_that_is_longer_than_the_call_may_take_is_not_begun(asked: str) -> None:
    steps = attempts(10, SERVER)
    next(steps)

    with pytest.raises(Busy) as raised:
        steps.send(problem(503, retry_after=asked))

    assert raised.value.retry_after_s == float(asked)
    assert (raised.value.status, raised.value.title, raised.value.uid) == (503, "Title", "abc")
    assert str(raised.value) == "503 Title: why"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Rejected),
        (401, NotAllowed),
        (403, NotAllowed),
        (404, UnknownModel),
        (405, Problem),
        (413, Rejected),
        (415, Rejected),
        (422, Rejected),
        (500, Problem),
        (504, DeadlinePassed),
    ],
)
def test_what_cannot_succeed_is_not_sent_again(status: int, kind: type[ClientError]) -> None:
    """Even if it has a Retry-After."""
    steps = attempts(60, SERVER)
    next(steps)

    with pytest.raises(kind) as raised:
        steps.send(problem(status, retry_after="1"))

    assert type(raised.value) is kind


@pytest.mark.parametrize("status", [301, 404, 418])
def test_an_error_of_another_server_is_not_taken_for_the_services(status: int) -> None:
    steps = attempts(60, SERVER)
    next(steps)

    with pytest.raises(BadAnswer, match=f"status {status} without a problem document"):
        steps.send(Reply(status, "Teapot", {"content-type": "text/html"}, b"<html>"))


def test_a_proxy_that_has_no_service_yet_is_asked_again() -> None:
    """Proxies answer 502 and 503 with HTML."""
    steps = attempts(60, SERVER)
    next(steps)

    assert isinstance(steps.send(Reply(502, "Bad Gateway", {}, b"<html>")), Wait)


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("refused"),
        httpx.ConnectTimeout("slow"),
        httpx.ReadError("reset"),
        httpx.RemoteProtocolError("closed"),
    ],
)
def test_a_connection_that_fails_is_tried_again_within_the_time(error: httpx.HTTPError) -> None:
    steps = attempts(60, SERVER)
    next(steps)

    assert isinstance(steps.send(NoReply.of(error)), Wait)


def test_a_service_that_is_away_all_the_time_is_no_answer() -> None:
    steps = attempts(0.01, SERVER)
    next(steps)

    with pytest.raises(NoAnswer, match=r"http://web:5000: no answer \(refused\)") as raised:
        steps.send(REFUSED)

    assert isinstance(raised.value.__cause__, httpx.ConnectError)


def test_a_certificate_that_is_not_valid_is_not_tried_again() -> None:
    error = httpx.ConnectError("certificate verify failed")
    error.__cause__ = ssl.SSLCertVerificationError("self-signed")
    steps = attempts(60, SERVER)
    next(steps)

    with pytest.raises(NoAnswer):
        steps.send(NoReply.of(error))


def test_an_answer_that_does_not_come_in_time_is_not_asked_for_again() -> None:
    steps = attempts(60, SERVER)
    next(steps)

    with pytest.raises(NoAnswer, match="no answer in time"):
        steps.send(NoReply.of(httpx.ReadTimeout("")))


@given(st.floats(0.001, 1e6))
def test_the_service_gets_less_time_than_the_client_waits(timeout_s: float) -> None:
    """So that its own 504 arrives; by a second at most."""
    milliseconds = Send(timeout_s).service_ms

    assert 1 <= milliseconds <= max(1, 1000 * timeout_s)
    assert milliseconds >= 1000 * (timeout_s - 1) - 1


@given(st.lists(st.sampled_from(["busy", "away"]), max_size=12), st.floats(0.1, 100))
def test_the_waits_never_exceed_the_time_of_the_call(outcomes: list[str], timeout_s: float) -> None:
    steps = attempts(timeout_s, SERVER)
    next(steps)
    waited = 0.0

    for outcome in outcomes:
        try:
            wait = steps.send(problem(429, retry_after="2") if outcome == "busy" else REFUSED)
        except (Busy, NoAnswer):
            return
        assert isinstance(wait, Wait)
        waited = max(waited, wait.seconds)
        assert isinstance(steps.send(None), Send)

    assert waited < timeout_s


def test_texts_of_strangers_are_one_line() -> None:
    steps = attempts(60, SERVER)
    next(steps)
    content = b'{"title": "a\\nb", "detail": "\\u001b[31mred' + b"x" * 5000 + b'"}'

    with pytest.raises(Rejected) as raised:
        steps.send(Reply(422, "", {"content-type": "application/problem+json"}, content))

    assert str(raised.value).startswith(r"422 a\nb: \x1b[31mred")
    assert len(str(raised.value)) < 600
