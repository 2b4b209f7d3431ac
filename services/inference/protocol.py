"""Decode requests and encode responses of the Open Inference Protocol v2.

Both have a JSON form and the form of the binary tensor extension.

Sources: kserve/open-inference-protocol, `specification/protocol/inference_rest.md`; Triton,
`docs/protocol/extension_binary_data.md`. In a binary request the first N bytes are JSON, N being
the header `Inference-Header-Content-Length`; raw tensors follow in the order of the inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from elastic_yolo.detector.boxes import CLASS, Floats, Image
from elastic_yolo.names import RESIZES, Resize
from services.common.request.errors import MalformedRequest, ParameterOutOfRange

HEADER_LENGTH = "Inference-Header-Content-Length"
INPUT_NAME = "images"
DETECTIONS = "detections"
COUNTS = "counts"
# Pixels from 0 to 255, rounded or not.
_DATATYPES: dict[str, np.dtype[Any]] = {"UINT8": np.dtype("u1"), "FP32": np.dtype("<f4")}


@dataclass(frozen=True)
class InferRequest:
    """A decoded request. `images` is (n, height, width, 3), uint8 or float32."""

    id: str | None
    images: Image
    threshold: float | None
    iou: float | None
    binary_outputs: bool
    resize: Resize | None = None
    """The rule that the caller has prepared the pictures by; None if it does not say."""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of its pictures, in pixels."""
        return self.images.shape[2], self.images.shape[1]

    def describe_format(self) -> str:
        """Return size and rule of its pictures for messages, as InputFormat does."""
        width, height = self.size
        return f"{width}x{height} {self.resize or 'pixels'}"


@dataclass(frozen=True)
class InferResponse:
    """A response: `detections` has one (k, 6) array for each picture of the request."""

    id: str | None
    model_name: str
    model_version: str
    digest: str
    labels: Sequence[str]
    detections: list[Floats]


def decode_request(
    body: bytes, header_length: str | None, sizes: Sequence[tuple[int, int]], max_batch: int
) -> InferRequest:
    """Decode a request with 1 to `max_batch` pictures of one of the `sizes` (width, height).

    Raises MalformedRequest if it violates the protocol or the model's metadata, and
    ParameterOutOfRange for a threshold or iou outside 0 to 1, an unknown resize rule, or too many
    pictures.
    """
    head, raw = _split(body, header_length)
    try:
        request = orjson.loads(head)
    except ValueError:
        raise MalformedRequest("the request's JSON cannot be parsed") from None
    if not isinstance(request, dict):
        raise MalformedRequest("the request's JSON is not an object")
    return read_request(request, raw, sizes, max_batch)


def read_request(
    request: dict[str, Any], raw: memoryview, sizes: Sequence[tuple[int, int]], max_batch: int
) -> InferRequest:
    """Read a request whose JSON is parsed; `raw` are its tensors' bytes. Raises the same errors."""
    tensor = _only_input(request)
    shape = _check_shape(tensor, sizes, max_batch)
    parameters = _object(request, "parameters")
    identity = request.get("id")
    if identity is not None and not isinstance(identity, str):
        raise MalformedRequest("id: expected a string")
    return InferRequest(
        id=identity,
        images=_read_tensor(tensor, shape, raw),
        threshold=_fraction(parameters, "threshold"),
        iou=_fraction(parameters, "iou"),
        binary_outputs=_wants_binary(request, parameters),
        resize=_resize(parameters),
    )


def encode_response(response: InferResponse, *, binary: bool) -> tuple[bytes, dict[str, str]]:
    """Return body and headers.

    The output `detections` holds the rows of all pictures one after the other, `counts` the number
    of rows of each picture. The response carries the labels of its classes, because the caller may
    have read the labels of another version.
    """
    rows = np.concatenate(response.detections)
    classes = sorted(set(rows[:, CLASS].astype(int).tolist()))
    tensors: dict[str, NDArray[Any]] = {
        DETECTIONS: rows.astype("<f4"),
        COUNTS: np.array([len(rows) for rows in response.detections], "<i8"),
    }
    head: dict[str, Any] = {
        "model_name": response.model_name,
        "model_version": response.model_version,
        "parameters": {
            "digest": response.digest,
            "labels": {str(number): response.labels[number] for number in classes},
        },
        "outputs": [_describe(name, tensor, binary=binary) for name, tensor in tensors.items()],
    }
    if response.id is not None:
        head["id"] = response.id
    encoded = orjson.dumps(head)
    if not binary:
        return encoded, {"Content-Type": "application/json"}
    parts = [encoded, *(tensor.tobytes() for tensor in tensors.values())]
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(encoded))}
    return b"".join(parts), headers


def _split(body: bytes, header_length: str | None) -> tuple[bytes, memoryview]:
    if header_length is None:
        return body, memoryview(b"")
    if not (header_length.isascii() and header_length.isdigit() and len(header_length) <= 12):
        raise MalformedRequest(f"{HEADER_LENGTH}: expected the length of the JSON in bytes")
    length = int(header_length)
    if length > len(body):
        raise MalformedRequest(f"{HEADER_LENGTH}: is {length} bytes, and the body has {len(body)}")
    return body[:length], memoryview(body)[length:]


def _only_input(request: dict[str, Any]) -> dict[str, Any]:
    inputs = request.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        expected = f"expected a list with exactly one tensor, {INPUT_NAME!r}"
        raise MalformedRequest(f"inputs: {expected}{_null(request, 'inputs')}")
    tensor: dict[str, Any] = inputs[0]
    if tensor.get("name") != INPUT_NAME:
        expected = f"expected the tensor {INPUT_NAME!r}"
        raise MalformedRequest(f"inputs: {expected}{_null(tensor, 'name')}")
    if tensor.get("datatype") not in tuple(_DATATYPES):
        expected = f"expected datatype {' or '.join(_DATATYPES)}"
        raise MalformedRequest(f"{INPUT_NAME}: {expected}{_null(tensor, 'datatype')}")
    return tensor


def _check_shape(
    tensor: dict[str, Any], sizes: Sequence[tuple[int, int]], max_batch: int
) -> tuple[int, int, int, int]:
    shape: Any = tensor.get("shape")
    is_shape = isinstance(shape, list) and len(shape) == 4 and all(type(n) is int for n in shape)
    if not is_shape or shape[3] != 3 or (shape[2], shape[1]) not in sizes:
        width, height = sizes[0]
        expected = f"expected shape [n, {height}, {width}, 3]"
        raise MalformedRequest(f"{INPUT_NAME}: {expected}{_null(tensor, 'shape')}")
    if not 1 <= shape[0] <= max_batch:
        raise ParameterOutOfRange(f"{INPUT_NAME}: expected 1 to {max_batch} pictures")
    return shape[0], shape[1], shape[2], 3


def _read_tensor(
    tensor: dict[str, Any], shape: tuple[int, int, int, int], raw: memoryview
) -> Image:
    kind = _DATATYPES[tensor["datatype"]]
    declared = _object(tensor, "parameters").get("binary_data_size")
    if declared is None:
        return _read_numbers(tensor, kind, shape)
    expected = int(np.prod(shape)) * kind.itemsize
    if declared != expected or len(raw) != expected:
        raise MalformedRequest(
            f"{INPUT_NAME}: expected {expected} bytes of binary data, "
            f"binary_data_size is {declared}, the body has {len(raw)}"
        )
    images: Image = np.frombuffer(raw, kind).reshape(shape)
    if kind.kind == "f" and not np.isfinite(images).all():
        raise MalformedRequest(f"{INPUT_NAME}: expected finite numbers")
    return images


def _read_numbers(
    tensor: dict[str, Any], kind: np.dtype[Any], shape: tuple[int, int, int, int]
) -> Image:
    """Read JSON numbers; the protocol allows nested lists, and a flat list in row-major order."""
    expected = int(np.prod(shape))
    try:
        values = np.array(tensor.get("data"))
        numbers = values.dtype.kind in ("iuf" if kind.kind == "f" else "iu")
        if numbers and values.size == expected and values.min() >= 0 and values.max() <= 255:
            return values.astype(kind).reshape(shape)
    except ValueError:
        pass  # a ragged list is reported below like any other wrong data
    raise MalformedRequest(
        f"{INPUT_NAME}: expected {expected} numbers from 0 to 255 as data{_null(tensor, 'data')}"
    )


def _wants_binary(request: dict[str, Any], parameters: dict[str, Any]) -> bool:
    outputs = request.get("outputs")
    if outputs is None:
        outputs = []
    if not isinstance(outputs, list) or not all(isinstance(output, dict) for output in outputs):
        raise MalformedRequest("outputs: expected a list of objects")
    for output in outputs:
        if output.get("name") not in (DETECTIONS, COUNTS):
            expected = f"expected {DETECTIONS!r} or {COUNTS!r}"
            raise MalformedRequest(f"outputs: {expected}{_null(output, 'name')}")
    requested = [_object(output, "parameters").get("binary_data") for output in outputs]
    return bool(any(requested) if outputs else parameters.get("binary_data_output"))


def _null(parent: dict[str, Any], key: str) -> str:
    """Return the end of a message if null is where a value is needed."""
    return f", {key} is null" if key in parent and parent[key] is None else ""


def _object(parent: dict[str, Any], key: str) -> dict[str, Any]:
    """Return an optional object; null is as if it were absent."""
    value = parent.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise MalformedRequest(f"{key}: expected an object")
    return value


def _fraction(parameters: dict[str, Any], key: str) -> float | None:
    value = parameters.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ParameterOutOfRange(f"{key}: expected a number from 0 to 1")
    return float(value)


def _resize(parameters: dict[str, Any]) -> Resize | None:
    value = parameters.get("resize")
    if value is None:
        return None
    if value not in RESIZES:
        raise ParameterOutOfRange(f"resize: expected {' or '.join(RESIZES)}")
    return RESIZES[RESIZES.index(value)]


def _describe(name: str, tensor: NDArray[Any], *, binary: bool) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": name,
        "datatype": "FP32" if tensor.dtype.kind == "f" else "INT64",
        "shape": list(tensor.shape),
    }
    if binary:
        described["parameters"] = {"binary_data_size": tensor.nbytes}
    else:
        described["data"] = tensor.ravel().tolist()
    return described
