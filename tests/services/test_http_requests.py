"""Requests as real clients send them: offers to upgrade, blanks, missing lengths, HEAD, queries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import httpx
import pytest

from elastic_yolo.lab.processes.stack import Service, Stack
from tests.support.pictures import encode, plain
from tests.support.raw import RawConnection, chunked, connected, exchange, request
from tests.support.tiny import write_tiny_model

JPEG = encode(plain(64, 48), "JPEG")
TYPE = "Content-Type: image/jpeg"
GET = request("/livez", method="GET")
HTTP2 = "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"
OFFERS = {
    "Java and curl": ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", HTTP2],
    "upper case": ["CONNECTION: upgrade,http2-settings", "UPGRADE: H2C", HTTP2],
    "keep-alive": ["Connection: keep-alive, Upgrade", "Upgrade: h2c"],
    "websocket": ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"],
    "several": ["Connection: upgrade", "Upgrade: h2c, websocket, TLS/1.2", "Upgrade: IRC/6.9"],
    "without Connection": ["Upgrade: h2c"],
    "without Upgrade": ["Connection: Upgrade"],
}
FORM = (
    b'--XX\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
    + JPEG
    + b"\r\n--XX--\r\n"
)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("requests")
    with Stack(model=write_tiny_model(folder / "model"), logs=folder) as running:
        yield running


def labels(connection: RawConnection) -> list[str]:
    """Read a response of web's, which must have boxes, and return their labels."""
    response = connection.read_response()
    assert response.status == 200, response.body
    return [label for label, *_ in response.json()["data"]]


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
@pytest.mark.parametrize("kind", ["length", "chunked", "form", "two packets"])
def test_an_offer_to_upgrade_is_ignored_and_the_body_is_read(
    stack: Stack, offer: Sequence[str], kind: str
) -> None:
    """Behind it, in the same packet, is a second request."""
    form = "Content-Type: multipart/form-data; boundary=XX"
    sent = {
        "length": request("/inference", [*offer, TYPE], JPEG),
        "chunked": chunked("/inference", [*offer, TYPE], JPEG, 100),
        "form": request("/inference", [*offer, form], FORM),
        "two packets": request("/inference", [*offer, TYPE], JPEG),
    }[kind]
    cut = sent.index(b"\r\n\r\n") + 2 if kind == "two packets" else len(sent)
    with connected(stack.web) as connection:
        connection.send(sent[:cut], sent[cut:] + GET)

        assert labels(connection)[0] == "square"
        assert connection.read_response().json() == {"status": "alive"}


@pytest.mark.parametrize("name", ["web", "preprocess", "inference"])
def test_every_tier_ignores_an_offer_to_upgrade(stack: Stack, name: str) -> None:
    path = {"web": "/inference", "preprocess": "/process", "inference": "/v2/models/tiny/infer"}
    with connected(getattr(stack, name)) as connection:
        connection.send(request(path[name], [*OFFERS["Java and curl"], TYPE], b"nonsense" * 9))
        refused = connection.read_response()
        connection.send(request("/livez", OFFERS["websocket"], method="GET"))

        assert refused.status in (400, 415, 422)
        assert refused.status == 400 or "nonsense" not in refused.detail
        assert connection.read_response().json() == {"status": "alive"}


@pytest.mark.parametrize(
    ("sent", "detail"),
    [
        (b"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n", "CONNECT is not supported"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2 is not supported: send HTTP/1.1"),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", "HTTP/2.0 is not supported: send HTTP/1.1"),
        (request("/inference", ["X-Folded: a\r\n b", TYPE], JPEG), "whitespace after header value"),
        (request("/inference", ["Content-Length : 4"]), "malformed HTTP request: Invalid header"),
    ],
)
def test_what_is_not_supported_is_named(stack: Stack, sent: bytes, detail: str) -> None:
    response = exchange(stack.web, sent)

    assert response.status == 400
    assert detail in response.detail
    assert response.headers["connection"] == "close"


@pytest.mark.parametrize("before", ["", " ", "\t", " \t "])
@pytest.mark.parametrize("after", ["", " ", "\t", " \t "])
def test_blanks_around_a_headers_value_do_not_belong_to_it(
    stack: Stack, before: str, after: str
) -> None:
    def header(name: str, value: str) -> str:
        return f"{name}:{before}{value}{after}"

    common = [
        header("X-Timeout-Ms", "20000"),
        header("Content-Type", "image/jpeg"),
        header("Accept", "image/png"),
        header("X-Request-ID", "a" * 32),
        header("Content-Encoding", "identity"),
    ]
    stated = request("/inference", [*common, header("Content-Length", str(len(JPEG)))]) + JPEG
    in_chunks = chunked("/inference", common, JPEG, 1000).replace(
        b"Transfer-Encoding: chunked", header("Transfer-Encoding", "chunked").encode()
    )
    for sent in (stated, in_chunks):
        response = exchange(stack.web, sent)

        assert response.status == 200, response.body
        assert response.headers["content-type"] == "image/png"
        assert response.headers["x-request-id"] == "a" * 32


@pytest.mark.parametrize("name", ["web", "preprocess", "inference"])
def test_a_body_without_a_length_is_411_and_ends_the_connection(stack: Stack, name: str) -> None:
    """Its bytes would be taken for the next request."""
    path = {"web": "/inference", "preprocess": "/process", "inference": "/v2/models/tiny/infer"}
    with connected(getattr(stack, name)) as connection:
        connection.send(request(path[name], [TYPE]) + JPEG)
        response = connection.read_response()

        assert response.status == 411
        assert "send Content-Length, or Transfer-Encoding: chunked" in response.detail
        assert response.headers["connection"] == "close"
        assert connection.read_to_the_end() == b""


def test_a_transfer_coding_other_than_chunked_is_named(stack: Stack) -> None:
    sent = request("/inference", [TYPE, "Transfer-Encoding: gzip, chunked"]) + b"0\r\n\r\n"
    response = exchange(stack.web, sent)

    assert response.status == 400
    assert "Transfer-Encoding 'gzip, chunked' is not accepted" in response.detail


@pytest.mark.parametrize(
    ("name", "path"),
    [
        *(
            (name, path)
            for name in ("web", "preprocess", "inference")
            for path in ("/livez", "/readyz", "/health/ping", "/metrics", "/docs", "/openapi.json")
        ),
        ("web", "/"),
        ("preprocess", "/golden"),
        ("inference", "/v2"),
        ("inference", "/v2/health/live"),
        ("inference", "/v2/health/ready"),
        ("inference", "/v2/models/tiny"),
        ("inference", "/v2/models/tiny/ready"),
        ("web", "/unknown"),
        ("web", "/inference"),
    ],
)
def test_head_answers_like_get_without_a_body(stack: Stack, name: str, path: str) -> None:
    service: Service = getattr(stack, name)
    got = httpx.get(service.url + path)
    with connected(service) as connection:
        connection.send(request(path, method="HEAD") + GET)
        head = connection.read_response(to_head=True)

        assert head.status == got.status_code
        assert head.headers["content-type"] == got.headers["content-type"]
        if path != "/metrics":  # they change
            assert head.headers["content-length"] == got.headers["content-length"]
        assert connection.read_response().json() == {"status": "alive"}


def test_head_is_counted_as_head(stack: Stack) -> None:
    httpx.head(f"{stack.web.url}/readyz")
    lines = httpx.get(f"{stack.web.url}/metrics").text.splitlines()

    assert any('method="HEAD"' in line and 'route="/readyz"' in line for line in lines)


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("thresh=0.3", "thresh: unknown parameter, did you mean threshold?"),
        ("Threshold=0.3", "Threshold: unknown parameter, did you mean threshold?"),
        ("modelname=x", "modelname: unknown parameter, did you mean model?"),
        ("IOU=0.3", "IOU: unknown parameter, did you mean iou?"),
        ("colour=red", "colour: unknown parameter, expected iou, model, threshold"),
        ("=1", ": unknown parameter, expected iou, model, threshold"),
        ("threshold=0.3&threshold=0.5", "threshold: given 2 times, expected once"),
        ("threshold=", "threshold: expected a number from 0 to 1"),
        ("x" * 9000 + "=1", "xxx: unknown parameter, expected"),
    ],
)
def test_an_unknown_parameter_is_named_with_the_nearest(
    stack: Stack, query: str, detail: str
) -> None:
    response = exchange(stack.web, request(f"/inference?{query}", [TYPE], JPEG))

    assert response.status == 422
    assert detail in response.detail
    assert len(response.detail) < 200


def test_preprocess_and_inference_check_their_parameters(stack: Stack) -> None:
    process = exchange(stack.preprocess, request("/process?versions=1", [TYPE], JPEG))
    infer = exchange(stack.inference, request("/v2/models/tiny/infer?threshold=1", [], b"{}"))

    assert (process.status, infer.status) == (422, 422)
    assert process.detail == "versions: unknown parameter, did you mean version?"
    assert infer.detail == "threshold: unknown parameter, this route has no query parameters"
