"""A service that is too busy says when to come back, and the client does as it says."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.retry import wanted_wait_s
from tests.client.test_client import run
from tests.client.tiny_server import Answer, serve
from tests.support.pictures import encode, plain


def busy(retry_after: str, status: int = 429) -> Answer:
    return Answer(status, b"{}", {"Retry-After": retry_after})


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "square.png"
    path.write_bytes(encode(plain(20, 20)))
    return path


@pytest.mark.parametrize("status", [429, 503])
def test_the_client_waits_as_told_and_says_so(picture: Path, status: int) -> None:
    with serve(busy("1", status), Answer()) as server:
        started = time.monotonic()
        code, out, err = run("--url", server.url, "--image", str(picture))
        took_s = time.monotonic() - started

    assert code == 0
    assert err == (
        f"client: square.png: status {status}, trying again in 1 s as the service asks\n"
    )
    assert f"2 requests (200: 1, {status}: 1), 0 failed" in out
    assert took_s >= 1


def test_after_three_retries_the_answer_is_a_failure(picture: Path) -> None:
    with serve(busy("0")) as server:
        code, out, err = run("--url", server.url, "--image", str(picture))

    assert (code, server.requests, len(err.splitlines())) == (1, 4, 3)
    assert "4 requests (429: 4), 1 failed" in out


def test_the_number_of_retries_is_the_callers(picture: Path) -> None:
    with serve(busy("0")) as server:
        run("--url", server.url, "--image", str(picture), "--retries", "5")

    assert server.requests == 6


def test_no_retries_switch_it_off(picture: Path) -> None:
    with serve(busy("0"), Answer()) as server:
        code, out, err = run("--url", server.url, "--image", str(picture), "--retries", "0")

    assert (code, err) == (1, "")
    assert "1 requests (429: 1), 1 failed" in out


@pytest.mark.parametrize("retry_after", ["3600", "9" * 400, "Fri, 31 Dec 2199 23:59:59 GMT"])
def test_nobody_waits_for_longer_than_a_minute(picture: Path, retry_after: str) -> None:
    with serve(busy(retry_after), Answer()) as server:
        code, out, err = run("--url", server.url, "--image", str(picture))

    assert (code, err) == (1, "")
    assert "1 requests (429: 1), 1 failed" in out


@pytest.mark.parametrize(
    "answer",
    [Answer(429, b"{}"), busy("soon"), busy("-1"), busy("0", 500), busy("0", 200)],
    ids=["no time", "no number", "negative", "another failure", "no failure"],
)
def test_who_is_not_told_a_time_does_not_come_back(picture: Path, answer: Answer) -> None:
    with serve(answer, Answer()) as server:
        code, _, _ = run("--url", server.url, "--image", str(picture))

    assert (code, server.requests) == (1, 1)


def test_the_picture_with_boxes_is_waited_for_as_well(picture: Path, tmp_path: Path) -> None:
    drawn = Answer(body=b"drawn")
    with serve(Answer(), busy("0", 503), drawn) as server:
        code, _, _ = run("--url", server.url, "--image", str(picture), "--save", str(tmp_path))

    assert code == 0
    assert (tmp_path / "square.jpg").read_bytes() == b"drawn"


def answer(value: str) -> httpx.Response:
    return httpx.Response(503, headers=[(b"Retry-After", value.encode("latin-1"))])


@given(st.integers(0, 10**9))
def test_seconds_are_seconds(seconds: int) -> None:
    assert wanted_wait_s(answer(str(seconds))) == seconds


@pytest.mark.parametrize("zone", ["GMT", "-0000"])
def test_a_date_is_the_time_until_then(zone: str) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)

    assert wanted_wait_s(answer(date.replace("GMT", zone))) == pytest.approx(30, abs=3)


def test_a_date_of_the_past_is_now() -> None:
    assert wanted_wait_s(answer("Wed, 21 Oct 2015 07:28:00 GMT")) == 0


@given(st.text(st.characters(max_codepoint=255)))
def test_any_text_is_a_time_or_none(text: str) -> None:
    wait_s = wanted_wait_s(answer(text))

    assert wait_s is None or wait_s >= 0
