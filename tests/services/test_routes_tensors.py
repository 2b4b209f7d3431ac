"""Tensors of servers of other makes: read from their metadata, filled, sent and decoded."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.peer.exchange import Response
from services.preprocess.routing.tensors import (
    InferResult,
    InputTensor,
    decode_result,
    encode_request,
    read_input,
)
from services.preprocess.routing.third_party import take_detections

SIZE = (64, 32)
HEADER = "inference-header-content-length"


def metadata(*shape: int, datatype: str = "UINT8") -> dict[str, Any]:
    return {"inputs": [{"name": "x", "datatype": datatype, "shape": list(shape)}]}


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((-1, 32, 64, 3), "NHWC"),
        ((1, 3, 32, 64), "NCHW"),
        ((-1, -1, -1, 3), "NHWC"),
        ((-1, 3, -1, -1), "NCHW"),
    ],
)
def test_layout_and_size_are_read_from_the_metadata(shape: tuple[int, ...], layout: str) -> None:
    found = read_input(metadata(*shape, datatype="FP32"), None, SIZE)

    assert (found.name, found.datatype, found.layout, found.size) == ("x", "FP32", layout, SIZE)


@pytest.mark.parametrize(
    ("described", "name", "reason"),
    [
        (metadata(-1, 64, 32, 3), None, r"shape \[-1, 64, 32, 3\]: expected \[-1, 32, 64, 3\] or"),
        (metadata(32, 64, 3), None, "shape"),
        (metadata(8, 32, 64, 3), None, "shape"),
        (metadata(-1, 32, 64, 1), None, "shape"),
        (metadata(-1, 32, 64, 3, datatype="BYTES"), None, "datatype BYTES: expected UINT8 or FP32"),
        (metadata(-1, 32, 64, 3), "images", "no input 'images', but x"),
        ({"inputs": []}, None, "inputs none: say which"),
    ],
)
def test_an_input_that_takes_no_pictures_is_refused(
    described: dict[str, Any], name: str | None, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        read_input(described, name, SIZE)


def test_pixels_are_filled_in_the_order_and_scale_of_the_server() -> None:
    image = np.arange(2 * 2 * 3, dtype=np.uint8).reshape(2, 2, 3)

    same = InputTensor("x", "UINT8", "NHWC", (2, 2)).fill(image, 255)
    planes = InputTensor("x", "FP32", "NCHW", (2, 2)).fill(image, 1)

    assert np.shares_memory(same, image)
    assert (same.shape, same.dtype) == ((1, 2, 2, 3), np.uint8)
    assert (planes.shape, planes.dtype) == ((1, 3, 2, 2), np.float32)
    assert planes[0, 1].ravel() == pytest.approx(np.array([1, 4, 7, 10]) / 255)


def test_a_request_is_json_or_binary() -> None:
    tensor = InputTensor("x", "UINT8", "NHWC", (1, 1))
    batch = tensor.fill(np.array([[[1, 2, 3]]], np.uint8), 255)

    (as_json,), json_headers = encode_request(tensor, batch, ["a", "b"], binary=False)
    (head, raw), binary_headers = encode_request(tensor, batch, ["a"], binary=True)

    assert orjson.loads(as_json) == {
        "inputs": [{"name": "x", "datatype": "UINT8", "shape": [1, 1, 1, 3], "data": [1, 2, 3]}],
        "outputs": [{"name": "a"}, {"name": "b"}],
    }
    assert json_headers == {"Content-Type": "application/json"}
    assert bytes(raw) == b"\x01\x02\x03"
    assert orjson.loads(head)["inputs"][0]["parameters"] == {"binary_data_size": 3}
    assert int(binary_headers["Inference-Header-Content-Length"]) == len(head)


@given(
    st.lists(
        st.tuples(
            st.booleans(),
            st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=8),
        ),
        max_size=4,
    )
)
def test_outputs_are_decoded_whether_json_or_binary(
    outputs: list[tuple[bool, list[float]]],
) -> None:
    """A server may send some of its outputs in one form and some in the other."""
    described: list[dict[str, Any]] = []
    raw = b""
    for number, (binary, values) in enumerate(outputs):
        tensor = {"name": str(number), "datatype": "FP32", "shape": [1, len(values)]}
        part = np.array(values, "<f4").tobytes()
        raw += part if binary else b""
        described.append(
            {**tensor, "parameters": {"binary_data_size": len(part)}}
            if binary
            else {**tensor, "data": values}
        )
    head = orjson.dumps({"model_version": 3, "outputs": described})

    result = decode_result(Response(200, {HEADER: str(len(head))}, head + raw))

    assert result.version == "3"
    for number, (_, values) in enumerate(outputs):
        assert result.outputs[str(number)].tolist() == [list(np.array(values, "<f4"))]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"outputs": null}',
        b'{"outputs": [{"name": "a", "datatype": "BYTES", "shape": [1], "data": ["x"]}]}',
        b'{"outputs": [{"name": "a", "datatype": "FP32", "shape": [2], "data": [1]}]}',
        b'{"outputs": [{"name": "a", "datatype": "UINT8", "shape": [1], "data": [300]}]}',
        b'{"outputs": [{"name": "a", "datatype": "INT64", "shape": [1], "data": [1e30]}]}',
        b'{"outputs": [{"name": "a", "datatype": "INT64", "shape": [1], "data": [1%s]}]}'
        % (b"0" * 30),
        b'{"outputs": [{"name": "a", "datatype": "FP32", "parameters": {"binary_data_size": 4}}]}',
    ],
)
def test_a_response_that_violates_the_protocol_is_refused(content: bytes) -> None:
    with pytest.raises((ValueError, LookupError, TypeError, AttributeError)):
        decode_result(Response(200, {HEADER: str(len(content))}, content))


def test_rows_beyond_their_number_and_those_that_are_not_finite_are_dropped() -> None:
    rows = np.zeros((1, 4, 6), np.float32)
    rows[0, :, 4] = [0.9, np.nan, 0.8, 0.7]
    outputs = {"rows": rows, "number": np.array([3])}

    found = take_detections(InferResult(outputs, None), "rows", "number")

    assert found[:, 4] == pytest.approx([0.9, 0.8])
    for number in (5, -1, np.inf, np.nan):
        wrong = InferResult(outputs | {"number": np.array([number])}, None)
        with pytest.raises(ValueError, match=f"{number} detections in 4 rows"):
            take_detections(wrong, "rows", "number")


@pytest.mark.parametrize("box", [(-3e38, -3e38, 3e38, 3e38), (50, 50, 10, 10), (0, np.inf, 1, 1)])
def test_a_row_that_is_no_box_is_dropped(box: tuple[float, ...]) -> None:
    rows = np.array([[*box, 0.9, 0], [10, 10, 50, 50, 0.8, 2e6]], np.float32)
    outputs = {"rows": rows, "number": np.array([2])}

    assert take_detections(InferResult(outputs, None), "rows", "number").tolist() == [
        pytest.approx([10, 10, 50, 50, 0.8, 2e6])
    ]
