"""A busy service sends Retry-After, and the client follows it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.retry import retry_after_s
from tests.client.running import run
from tests.support.pictures import encode, plain
from tests.support.scripted_server import Response, serve


def busy(retry_after: str, status: int = 429) -> Response:
    return Response(status, b"{}", {"Retry-After": retry_after})


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "square.png"
    path.write_bytes(encode(plain(20, 20)))
    return path


@pytest.mark.parametrize("status", [429, 503])
def test_the_client_waits_and_prints_how_long(picture: Path, status: int) -> None:
    with serve(busy("1", status), Response()) as server:
        started = time.monotonic()
        code, out, err = run("--url", server.url, "--image", str(picture))
        took_s = time.monotonic() - started

    assert code == 0
    assert err == (f"client: square.png: status {status}, trying again after 1 s (Retry-After)\n")
    assert f"2 requests (200: 1, {status}: 1), 0 failed" in out
    assert took_s >= 1


def test_after_three_retries_a_picture_fails(picture: Path) -> None:
    with serve(busy("0")) as server:
        code, out, err = run("--url", server.url, "--image", str(picture))

    assert (code, server.requests, len(err.splitlines())) == (1, 4, 3)
    assert "4 requests (429: 4), 1 failed" in out


def test_the_number_of_retries_can_be_set(picture: Path) -> None:
    with serve(busy("0")) as server:
        run("--url", server.url, "--image", str(picture), "--retries", "5")

    assert server.requests == 6


def test_zero_retries_switch_them_off(picture: Path) -> None:
    with serve(busy("0"), Response()) as server:
        code, out, err = run("--url", server.url, "--image", str(picture), "--retries", "0")

    assert (code, err) == (1, "")
    assert "1 request (429: 1), 1 failed" in out


@pytest.mark.parametrize("retry_after", ["3600", "9" * 400, "Fri, 31 Dec 2199 23:59:59 GMT"])
def test_no_picture_waits_longer_than_a_minute(picture: Path, retry_after: str) -> None:
    with serve(busy(retry_after), Response()) as server:
        code, out, err = run("--url", server.url, "--image", str(picture))

    assert (code, err) == (1, "")
    assert "1 request (429: 1), 1 failed" in out


@pytest.mark.parametrize(
    "response",
    [Response(429, b"{}"), busy("soon"), busy("-1"), busy("0", 500), busy("0", 200)],
    ids=["no time", "no number", "negative", "another failure", "no failure"],
)
def test_without_a_valid_retry_after_there_is_no_retry(picture: Path, response: Response) -> None:
    with serve(response, Response()) as server:
        code, _, _ = run("--url", server.url, "--image", str(picture))

    assert (code, server.requests) == (1, 1)


def test_the_picture_with_boxes_is_retried_as_well(picture: Path, tmp_path: Path) -> None:
    drawn = Response(body=b"drawn")
    with serve(Response(), busy("0", 503), drawn) as server:
        code, _, _ = run("--url", server.url, "--image", str(picture), "--save", str(tmp_path))

    assert code == 0
    assert (tmp_path / "square.jpg").read_bytes() == b"drawn"


def with_retry_after(value: str) -> httpx.Response:
    return httpx.Response(503, headers=[(b"Retry-After", value.encode("latin-1"))])


@given(st.integers(0, 10**9))
def test_seconds_are_seconds(seconds: int) -> None:
    assert retry_after_s(with_retry_after(str(seconds))) == seconds


@pytest.mark.parametrize("zone", ["GMT", "-0000"])
def test_a_date_is_the_time_until_then(zone: str) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)

    assert retry_after_s(with_retry_after(date.replace("GMT", zone))) == pytest.approx(30, abs=3)


def test_a_date_of_the_past_is_now() -> None:
    assert retry_after_s(with_retry_after("Wed, 21 Oct 2015 07:28:00 GMT")) == 0


@given(st.text(st.characters(max_codepoint=255)))
def test_any_text_is_a_time_or_none(text: str) -> None:
    wait_s = retry_after_s(with_retry_after(text))

    assert wait_s is None or wait_s >= 0
