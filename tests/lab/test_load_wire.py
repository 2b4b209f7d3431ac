"""Requests and responses as bytes, and which responses count as correct."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic_yolo.lab.load.expected import Expected, WrongResponse
from elastic_yolo.lab.load.wire import Response, ResponseReader, Target, UnsupportedResponse

RESPONSES = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 3\r\nconnection: close\r\n"
    b"content-length: 0\r\n\r\n"
)


@given(st.sets(st.integers(1, len(RESPONSES) - 1)))
def test_responses_may_arrive_in_pieces(cuts: set[int]) -> None:
    ends = [*sorted(cuts), len(RESPONSES)]
    pieces = [RESPONSES[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    reader = ResponseReader()

    # The last piece may complete both: then the second one needs another call.
    responses = [one for piece in [*pieces, b""] if (one := reader.feed(piece))]

    assert responses == [
        Response(200, b"hello", retry_after_s=None, closes=False),
        Response(429, b"", retry_after_s=3, closes=True),
    ]


def test_a_response_without_content_length_is_refused() -> None:
    with pytest.raises(UnsupportedResponse, match="Content-Length"):
        ResponseReader().feed(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")


def test_a_request_has_the_headers_of_its_target() -> None:
    target = Target("http://127.0.0.1:5000/inference?threshold=0.5", timeout_ms=250)

    assert target.address == ("127.0.0.1", 5000)
    assert target.request(b"picture") == (
        b"POST /inference?threshold=0.5 HTTP/1.1\r\nHost: 127.0.0.1:5000\r\n"
        b"Content-Type: image/jpeg\r\nContent-Length: 7\r\nX-Timeout-Ms: 250\r\n\r\npicture"
    )


def test_a_picture_is_sent_as_a_tensor_to_a_target_with_parameters() -> None:
    url = "http://127.0.0.1:4002/v2/models/tiny/infer"
    target = Target(url, "application/octet-stream", tensor_parameters={"threshold": 0.5})
    head, _, body = target.request(b"picture").partition(b"\r\n\r\n")
    headers = dict(line.split(": ") for line in head.decode().split("\r\n")[1:])
    length = int(headers["Inference-Header-Content-Length"])

    sent = json.loads(body[:length])
    assert body[length:] == b"\x07\0\0\0picture"
    assert int(headers["Content-Length"]) == len(body)
    assert sent["parameters"] == {"threshold": 0.5}
    assert sent["inputs"][0]["parameters"] == {"binary_data_size": 11}


def test_detections_of_the_open_inference_protocol_are_compared_with_those_of_web() -> None:
    """Corners in one list of numbers, against centres in a list for each object."""
    output = {"name": "detections", "shape": [1, 6], "data": [8.5, 0, 11.5, 4, 0.9, 7]}
    answer = {"parameters": {"labels": {"7": "bird"}}, "outputs": [output]}
    expected = Expected(json.dumps(answer).encode())

    assert expected.data == [["bird", 0.9, [10, 2, 3, 4]]]
    assert expected.matches(body(0.9, 10.0))
    assert not expected.matches(body(0.9, 20.0))
    with pytest.raises(WrongResponse):
        Expected(b'{"outputs": []}')


def body(score: float, x: float, uid: str = "a", label: str = "bird") -> bytes:
    return json.dumps({"uid": uid, "data": [[label, score, [x, 2.0, 3.0, 4.0]]]}).encode()


def test_the_same_detections_are_correct_whatever_the_uid() -> None:
    expected = Expected(body(0.9, 10.0))

    assert expected.matches(body(0.9, 10.0, uid="b"))
    assert expected.matches(body(0.905, 10.5))


@pytest.mark.parametrize(
    "other",
    [
        body(0.8, 10.0),
        body(0.9, 15.0),
        body(0.9, 10.0, label="dog"),
        b'{"data": []}',
        b'{"success": "true"}',
        b"\xff not JSON",
    ],
)
def test_other_detections_are_wrong(other: bytes) -> None:
    assert not Expected(body(0.9, 10.0)).matches(other)


def test_a_first_response_must_have_detections() -> None:
    with pytest.raises(WrongResponse, match="a response without detections"):
        Expected(b'{"detail": "no"}')
