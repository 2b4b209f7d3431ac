"""What is taken for an answer, and what is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic_yolo.client import Client, Detection, Model
from elastic_yolo.client.answer import read_answer, read_server_timing
from elastic_yolo.client.errors import BadAnswer, BadArgument
from elastic_yolo.client.reply import Body, Reply
from tests.support.scripted_server import Response, serve

GOOD: dict[str, Any] = {
    "success": "true",
    "uid": "0" * 32,
    "data": [["<b>kätzchen</b>", 1, [1, 2.5, 3, 4]]],
    "model": {"name": "m", "version": "1", "digest": "sha256:0"},
    "image": {"width": 64, "height": 48},
}


def reply(value: object) -> Reply:
    return Reply(200, "OK", {}, json.dumps(value).encode())


def test_an_answer_is_typed() -> None:
    answer = read_answer(reply(GOOD))

    assert answer.detections == (Detection("<b>kätzchen</b>", 1.0, (1, 2.5, 3, 4)),)
    assert answer.model == Model("m", "1", "sha256:0")
    assert (answer.uid, answer.width, answer.height) == ("0" * 32, 64, 48)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"success": True}, "lacks success"),
        ({"uid": "x"}, "lacks a uid"),
        ({"uid": None}, "lacks a uid"),
        ({"data": {}}, "lacks data"),
        ({"data": [7]}, r"an entry is not \[label, score"),
        ({"data": [["cat", 1.5, [1, 2, 3, 4]]]}, "an entry is not"),
        ({"data": [["cat", 0.5, [1, 2, float("nan"), 4]]]}, "an entry is not"),
        ({"data": [["cat", 0.5, [1, 2, 10**400, 4]]]}, "an entry is not"),
        ({"data": [["cat", 0.5, [1, 2, 3]]]}, "an entry is not"),
        ({"model": "m"}, "lacks a model"),
        ({"image": {"width": 0, "height": 4}}, "lacks the size"),
        ({"image": {"width": 10**30, "height": 4}}, "lacks the size"),
    ],
)
def test_a_damaged_answer_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(BadAnswer, match=said):
        read_answer(reply({**GOOD, **change}))


@pytest.mark.parametrize("body", [b"<html>hotel</html>", b"", b"\xff\xfe", b"[" * 100_000, b"null"])
def test_a_page_of_another_server_is_refused(body: bytes) -> None:
    with serve(Response(body=body)) as server, Client(server.url) as client:
        with pytest.raises(BadAnswer, match="the answer"):
            client.detect(b"picture")
        assert server.requests == 1


@pytest.mark.parametrize("headers", [{"Content-Encoding": "gzip"}, {"Content-Type": "text/html"}])
def test_a_drawing_that_is_none_is_refused(headers: dict[str, str]) -> None:
    with serve(Response(body=b"x", headers=headers)) as server, Client(server.url) as client:
        with pytest.raises(BadAnswer):
            client.draw(b"picture")
        assert server.requests == 1


def test_an_endless_answer_is_given_up() -> None:
    body = Body(10, float("inf"))
    body.add(b"12345")
    body.add(b"67890")

    with pytest.raises(BadAnswer, match="more than 10 bytes"):
        body.add(b"1")
    assert body.content() == b"1234567890"


def test_an_answer_that_trickles_is_given_up() -> None:
    with pytest.raises(TimeoutError):
        Body(10, 0.0).add(b"1")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("", {}),
        ("web;dur=4.91, inference;dur=35", {"web": 4.91, "inference": 35}),
        (
            'inference;dur=12.3;desc="inf-7f-x2", engine;desc="openvino, \\"bf16\\"; x";dur=9.1',
            {"inference": 12.3, "engine": 9.1},
        ),
        ("cache;desc=hit, web;dur=1, web;dur=2", {"web": 1}),
        ("web;dur=nan, b;dur=1e400, c;dur=-1", {"b": 1}),
    ],
)
def test_server_timing_is_read_as_the_w3c_writes_it(value: str, found: dict[str, float]) -> None:
    assert read_server_timing(value) == found


@given(st.text(max_size=300))
def test_any_text_is_read_as_server_timing(value: str) -> None:
    assert all(0 <= number < 1e10 for number in read_server_timing(value).values())


@pytest.mark.parametrize(
    "url",
    [
        "",
        "web:5000",
        "ftp://web",
        "http://",
        "http://web:99999999",
        "http://web/inference",
        "http://[x",
    ],
)
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(BadArgument):
        Client(url)


@pytest.mark.parametrize("token", ["kä", "a\nb"])
def test_a_token_that_no_header_can_have_is_refused(token: str) -> None:
    with pytest.raises(BadArgument, match="token") as raised:
        Client("http://web", token=token)

    assert token not in str(raised.value)


@pytest.mark.parametrize("timeout_s", [0, -1, float("inf"), float("nan")])
def test_a_timeout_that_is_none_is_refused(timeout_s: float) -> None:
    with pytest.raises(BadArgument, match="timeout_s"):
        Client("http://web", timeout_s=timeout_s)


def test_errors_name_no_password() -> None:
    client = Client("http://user:secret@127.0.0.1:9/?key=secret", timeout_s=0.01)

    with client, pytest.raises(Exception, match=r"http://127.0.0.1:9: no answer") as raised:
        client.detect(b"picture")

    assert "secret" not in str(raised.value)
