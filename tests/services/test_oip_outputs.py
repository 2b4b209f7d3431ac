"""The outputs of a response, and members of a request that the protocol lets a client send."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from itertools import permutations, product
from typing import Any

import httpx
import numpy as np
import pytest

from elastic_yolo.lab.processes.stack import Service, free_port
from services.inference.protocol import HEADER_LENGTH
from tests.support.open_inference import BINARY, pixel_body, read_outputs
from tests.support.tiny import write_tiny_model

INFER = "/v2/models/tiny/infer"
IMAGES = np.zeros((2, 32, 64, 3), np.uint8)
# Two cells each: two boxes of 16x8 pixels.
COUNTS = [2, 2]
NAMES = ("detections", "counts")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("outputs")
    model = write_tiny_model(folder / "model", width=64, height=32)
    service = Service("inference", free_port(), {"MODEL_PATH": str(model), "MAX_BATCH": "4"})
    with service:
        service.wait_ready()
        with httpx.Client(base_url=service.url, timeout=60) as client:
            yield client


def send(api: httpx.Client, images: np.ndarray = IMAGES, **members: Any) -> httpx.Response:
    content, headers = pixel_body(images, **members)
    return api.post(INFER, content=content, headers=headers)


def requested(names: tuple[str, ...], binary: tuple[bool | None, ...]) -> list[dict[str, Any]]:
    """Return the member `outputs`; None is an output that does not say how it is returned."""
    return [
        {"name": name} if own is None else {"name": name, "parameters": {"binary_data": own}}
        for name, own in zip(names, binary, strict=True)
    ]


SELECTIONS = [
    (names, binary)
    for count in (1, 2)
    for names in permutations(NAMES, count)
    for binary in product((None, False, True), repeat=count)
]


@pytest.mark.parametrize("default", [None, False, True])
def test_a_response_has_the_outputs_that_were_asked_for_in_that_order(
    api: httpx.Client, default: bool | None
) -> None:
    """`binary_data` of an output has precedence over `binary_data_output` of the request."""
    everything = read_outputs(send(api))
    parameters = {} if default is None else {"binary_data_output": default}

    for names, binary in SELECTIONS:
        response = send(api, outputs=requested(names, binary), parameters=parameters)
        found = read_outputs(response)

        assert list(found) == list(names)
        for name in names:
            assert found[name].tolist() == everything[name].tolist()
        expected = [bool(default) if own is None else own for own in binary]
        assert (HEADER_LENGTH in response.headers) == any(expected)
        kind = "application/octet-stream" if any(expected) else "application/json"
        assert response.headers["Content-Type"] == kind
        length = int(response.headers.get(HEADER_LENGTH, len(response.content)))
        size = sum(found[name].nbytes for name, own in zip(names, expected, strict=True) if own)
        assert len(response.content) == length + size


@pytest.mark.parametrize("outputs", [None, []])
@pytest.mark.parametrize("binary", [False, True])
def test_without_a_selection_all_outputs_are_returned(
    api: httpx.Client, outputs: list[Any] | None, *, binary: bool
) -> None:
    found = read_outputs(send(api, outputs=outputs, parameters={"binary_data_output": binary}))

    assert list(found) == list(NAMES)
    assert found["counts"].tolist() == COUNTS
    assert found["detections"].shape == (4, 6)


def test_an_output_without_rows_has_a_shape_in_both_forms(api: httpx.Client) -> None:
    for outputs in requested(("detections",), (False,)), requested(("detections",), (True,)):
        found = read_outputs(send(api, outputs=outputs, parameters={"threshold": 0.99}))

        assert found["detections"].shape == (0, 6)


@pytest.mark.parametrize(
    ("members", "detail"),
    [
        ({"outputs": [{"name": "counts"}, {"name": "counts"}]}, "outputs: 'counts' is there twice"),
        ({"outputs": [{"name": "boxes"}]}, "outputs: expected 'detections' or 'counts'"),
        ({"outputs": {"name": "counts"}}, "outputs: expected a list of objects"),
        (
            {"outputs": [{"name": "counts", "parameters": {"binary_data": "no"}}]},
            "binary_data: expected true or false",
        ),
        (
            {"parameters": {"binary_data_output": 1}},
            "binary_data_output: expected true or false",
        ),
    ],
)
def test_a_wrong_selection_gets_an_explanation(
    api: httpx.Client, members: dict[str, Any], detail: str
) -> None:
    refused = send(api, **members)

    assert (refused.status_code, refused.json()["error"]) == (400, detail)


def test_parameters_of_unknown_names_are_ignored_at_every_level(api: httpx.Client) -> None:
    """Triton's own, and a caller's; and members that clients send beside the protocol's."""
    unknown = {"priority": 1, "timeout": 1000, "sequence_id": 7, "mine": "a", "also": None}
    tensor = {
        "name": "images",
        "datatype": "UINT8",
        "shape": list(IMAGES.shape),
        "data": IMAGES.ravel().tolist(),
        "parameters": {"content_type": "np", **unknown},
    }
    outputs = [{"name": "counts", "parameters": {"classification": 3, **unknown}}]
    request = {
        "model_name": "another",
        "inputs": [tensor],
        "outputs": outputs,
        "parameters": unknown,
        "trace": {},
    }

    assert read_outputs(api.post(INFER, json=request))["counts"].tolist() == COUNTS


@pytest.mark.parametrize("identity", ["mine", "", "ü☃", "x" * 500])
def test_the_id_of_a_request_comes_back(api: httpx.Client, identity: str) -> None:
    assert send(api, id=identity).json()["id"] == identity
    assert "id" not in send(api).json()


@pytest.mark.parametrize(
    ("coding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
def test_a_compressed_binary_request_gets_a_mixed_response(
    api: httpx.Client, coding: str, compress: Any
) -> None:
    """As tritonclient's request_compression_algorithm and response_compression_algorithm send it.

    Inference-Header-Content-Length counts bytes before the compression. Responses are a few hundred
    bytes and never compressed.
    """
    outputs = [{"name": "counts", "parameters": BINARY}, {"name": "detections"}]
    content, headers = pixel_body(IMAGES, outputs=outputs)
    headers |= {"Content-Encoding": coding, "Accept-Encoding": coding}

    response = api.post(INFER, content=compress(content), headers=headers)

    assert "Content-Encoding" not in response.headers
    assert read_outputs(response)["counts"].tolist() == COUNTS


def test_a_long_json_in_front_of_binary_data_is_not_decoded_on_the_event_loop(
    api: httpx.Client,
) -> None:
    """An attack: megabytes of JSON that claim to be the head of a binary request."""
    content, headers = pixel_body(IMAGES, extra="x" * 70_000)
    long = api.post(INFER, content=content, headers=headers)

    assert "json_queue;dur=" in long.headers["Server-Timing"]
    assert "json_queue;dur=" not in send(api).headers["Server-Timing"]
    assert read_outputs(long)["counts"].tolist() == COUNTS
