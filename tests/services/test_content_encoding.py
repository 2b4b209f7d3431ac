"""Compressed request bodies: all that `gzip` and `deflate` stand for, within the limits."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic_yolo.lab.processes.stack import Stack
from services.common.request.content_encoding import PIECE_BYTES, Inflater, choose_inflater
from services.common.request.errors import MalformedRequest
from services.inference.protocol import HEADER_LENGTH
from tests.support.pictures import encode, plain
from tests.support.raw import chunked, connected, exchange, request
from tests.support.tiny import SCORE, write_tiny_model
from tests.support.waiting import wait_until

JPEG = encode(plain(64, 48), "JPEG")
TYPE = "Content-Type: image/jpeg"
MAX_BODY = 300_000


def raw_deflate(data: bytes) -> bytes:
    return zlib.compress(data, wbits=-15)


ENCODERS = [("gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", raw_deflate)]


def inflate(coding: str, data: bytes, piece_bytes: int = 1000) -> bytes:
    inflater = Inflater(coding)
    pieces: list[bytes] = []
    for at in range(0, len(data), piece_bytes):
        pieces += inflater.inflate(data[at : at + piece_bytes])
    inflater.finish()
    assert all(len(piece) <= PIECE_BYTES for piece in pieces)
    return b"".join(pieces)


@given(
    st.binary(max_size=300),
    st.integers(1, 300),
    st.sampled_from(ENCODERS),
    st.integers(1, 40),
)
def test_what_was_compressed_comes_out(
    data: bytes, times: int, encoder: tuple[str, type], piece_bytes: int
) -> None:
    coding, compress = encoder

    assert inflate(coding, compress(data * times), piece_bytes) == data * times


def test_a_gzip_file_may_have_several_members() -> None:
    assert inflate("gzip", gzip.compress(b"one, ") + gzip.compress(b"two"), 3) == b"one, two"


@pytest.mark.parametrize(("coding", "compress"), ENCODERS)
@pytest.mark.parametrize("piece_bytes", [1, 1000])
def test_data_that_is_not_whole_is_malformed(coding: str, compress: type, piece_bytes: int) -> None:
    good = compress(bytes(range(256)) * 9)
    with pytest.raises(MalformedRequest, match="ends before its compressed data"):
        inflate(coding, good[:-1], piece_bytes)
    with pytest.raises(MalformedRequest, match="ends before its compressed data"):
        inflate(coding, b"", piece_bytes)
    with pytest.raises(MalformedRequest, match=r"goes on behind|cannot be decompressed"):
        inflate(coding, good + b"\1\2\3", piece_bytes)
    with pytest.raises(MalformedRequest, match=r"cannot be decompressed|ends before"):
        inflate(coding, JPEG, piece_bytes)


@pytest.mark.parametrize("piece_bytes", [1, 7, 1000])
def test_zeros_behind_gzip_are_padding(piece_bytes: int) -> None:
    padded = gzip.compress(b"one, ") + bytes(12) + gzip.compress(b"two") + bytes(500)

    assert inflate("gzip", padded, piece_bytes) == b"one, two"


def test_a_million_empty_members_are_refused() -> None:
    with pytest.raises(MalformedRequest, match="has more than 400 members"):
        inflate("gzip", gzip.compress(b"") * 2000)


@pytest.mark.parametrize("value", ["", "identity", "Identity", " identity , identity", ","])
def test_identity_needs_no_inflater(value: str) -> None:
    assert choose_inflater(value) is None


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The services with small limits; the tensor of one picture is 64x32."""
    folder = tmp_path_factory.mktemp("encoding")
    model = write_tiny_model(folder / "model", width=64, height=32)
    limits = {"MAX_BODY_BYTES": str(MAX_BODY), "MAX_HELD_BYTES": "500000"}
    env = {"web": limits, "preprocess": limits, "inference": {"MAX_BATCH": "4"}}
    with Stack(model=model, logs=folder, env=env) as running:
        yield running


@pytest.mark.parametrize(("coding", "compress"), [*ENCODERS, ("x-gzip", gzip.compress)])
@pytest.mark.parametrize("name", ["web", "preprocess"])
def test_a_compressed_picture_has_the_same_boxes(
    stack: Stack, name: str, coding: str, compress: type
) -> None:
    service, path = {
        "web": (stack.web, "/inference"),
        "preprocess": (stack.preprocess, "/process"),
    }[name]
    headers = [TYPE, f"Content-Encoding: {coding}"]
    plain_response = exchange(service, request(path, [TYPE], JPEG)).json()
    found = exchange(service, request(path, headers, compress(JPEG))).json()
    in_chunks = exchange(service, chunked(path, headers, compress(JPEG), 10)).json()
    boxes = "data" if name == "web" else "detections"

    assert plain_response[boxes]
    assert found[boxes] == in_chunks[boxes] == plain_response[boxes]


def test_a_compressed_form_is_read(stack: Stack) -> None:
    form = b'--X\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + JPEG + b"\r\n--X--"
    headers = ["Content-Type: multipart/form-data; boundary=X", "Content-Encoding: gzip"]
    response = exchange(stack.web, request("/inference", headers, gzip.compress(form)))

    assert response.json()["data"][0][0] == "square"


@pytest.mark.parametrize(("coding", "compress"), ENCODERS)
@pytest.mark.parametrize("binary", [False, True])
def test_a_compressed_tensor_is_read(
    stack: Stack, coding: str, compress: type, *, binary: bool
) -> None:
    """Inference-Header-Content-Length counts bytes that are not compressed."""
    pixels = np.zeros((1, 32, 64, 3), np.uint8)
    tensor = {"name": "images", "datatype": "UINT8", "shape": pixels.shape}
    tensor |= (
        {"parameters": {"binary_data_size": pixels.nbytes}}
        if binary
        else {"data": pixels.ravel().tolist()}
    )
    head = json.dumps({"inputs": [tensor]}).encode()
    headers = {"Content-Encoding": coding} | ({HEADER_LENGTH: str(len(head))} if binary else {})
    body = compress(head + (pixels.tobytes() if binary else b""))
    url = f"{stack.inference.url}/v2/models/tiny/infer"
    detections = httpx.post(url, content=body, headers=headers).json()["outputs"][0]

    assert detections["data"][4] == pytest.approx(SCORE, abs=1e-3)


@pytest.mark.parametrize("value", ["br", "zstd", "gzip, gzip", "deflate, gzip", "aes128gcm", "x"])
def test_another_encoding_is_415_by_name(stack: Stack, value: str) -> None:
    response = exchange(
        stack.web, request("/inference", [TYPE, f"Content-Encoding: {value}"], JPEG)
    )

    assert response.status == 415
    assert f"Content-Encoding '{value}' is not accepted: send gzip or deflate" in response.detail
    assert response.headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize("name", ["web", "preprocess", "inference"])
def test_a_compressed_bomb_is_413_or_429(stack: Stack, name: str) -> None:
    """A hundred megabytes of zeros in 100 KB: no more than a body's limit is decompressed."""
    paths = {"web": "/inference", "preprocess": "/process", "inference": "/v2/models/tiny/infer"}
    bomb = gzip.compress(bytes(100_000_000), 9)
    sent = request(paths[name], [TYPE, "Content-Encoding: gzip"], bomb)
    response = exchange(getattr(stack, name), sent)

    assert response.status == 413
    assert "the body exceeds the limit of" in response.detail


def test_decompressed_bytes_count_as_held(stack: Stack) -> None:
    """Uploads of some hundred bytes hold 290 KB each, so the second is refused."""
    head = request("/inference", [TYPE, "Content-Encoding: gzip", "Content-Length: 9000"])
    compressor = zlib.compressobj(wbits=31)
    data = compressor.compress(bytes(290_000)) + compressor.flush(zlib.Z_FULL_FLUSH)
    with connected(stack.web) as first:
        first.send(head + data)

        def is_refused() -> bool:
            answer = exchange(stack.web, request("/inference", [TYPE], bytes(290_000)))
            return answer.status == 429 and "reach the limit of 500,000 bytes" in answer.detail

        wait_until(is_refused, "a second body is refused")
