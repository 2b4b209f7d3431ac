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

from elastic_yolo.detector.boxes import CLASS, COLUMNS, Floats, Image
from elastic_yolo.names import RESIZES, Resize
from services.common.request.errors import MalformedRequest, ParameterOutOfRange
from services.inference.elements import read_strings, split_elements
from services.inference.json_numbers import to_array

HEADER_LENGTH = "Inference-Header-Content-Length"
INPUT_NAME = "images"
DETECTIONS = "detections"
COUNTS = "counts"
# Pixels from 0 to 255, rounded or not.
_PIXELS: dict[str, np.dtype[Any]] = {"UINT8": np.dtype("u1"), "FP32": np.dtype("<f4")}
# Picture files.
_FILES = "BYTES"
_DATATYPES = (*_PIXELS, _FILES)

Shape = tuple[int, int, int, int]


@dataclass(frozen=True)
class Output:
    """A tensor that the response has, in JSON or as binary data."""

    name: str
    binary: bool = False


ALL_OUTPUTS = (Output(DETECTIONS), Output(COUNTS))
"""What a response has if the request names no outputs."""


@dataclass(frozen=True)
class InferRequest:
    """A decoded request with pixels. `images` is (n, height, width, 3), uint8 or float32."""

    id: str | None
    images: Image
    threshold: float | None
    iou: float | None
    outputs: tuple[Output, ...] = ALL_OUTPUTS
    """In the order of the response."""
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
class PictureRequest:
    """A decoded request with picture files: JPEG, PNG, WebP or BMP, not looked at yet."""

    id: str | None
    pictures: tuple[bytes, ...]
    threshold: float | None
    iou: float | None
    outputs: tuple[Output, ...] = ALL_OUTPUTS


@dataclass(frozen=True)
class InferResponse:
    """A response: `detections` has one (k, 6) array for each picture of the request.

    Boxes are in pixels of what the request has: of the network's input for pixels, of the upright
    picture for picture files.
    """

    id: str | None
    model_name: str
    model_version: str
    digest: str
    labels: Sequence[str]
    detections: list[Floats]

    def tensor(self, name: str) -> NDArray[Any]:
        """Return an output.

        `detections` holds the rows of all pictures one after the other, (k, 6) float32; `counts`
        the number of rows of each picture, (n,) int64. Both are little-endian.
        """
        if name == COUNTS:
            return np.array([len(rows) for rows in self.detections], "<i8")
        return np.concatenate(self.detections).astype("<f4", copy=False)

    def named_labels(self) -> dict[str, str]:
        """Return the labels of the classes that it has, by class number."""
        classes = {int(number) for rows in self.detections for number in rows[:, CLASS].tolist()}
        return {str(number): self.labels[number] for number in sorted(classes)}


def decode_request(
    body: bytes, header_length: int | None, sizes: Sequence[tuple[int, int]], max_batch: int
) -> InferRequest | PictureRequest:
    """Decode a request with 1 to `max_batch` pictures: files, or pixels of one of the `sizes`.

    `header_length` is as `read_header_length` returns it, `sizes` are (width, height). Raises
    MalformedRequest if the request violates the protocol or the model's metadata, and
    ParameterOutOfRange for a threshold or iou outside 0 to 1, an unknown resize rule, or too many
    pictures.
    """
    head = body if header_length is None else body[:header_length]
    raw = memoryview(body)[len(head) :]
    try:
        request = orjson.loads(head)
    except ValueError:
        raise MalformedRequest(_not_json(body, header_length)) from None
    if not isinstance(request, dict):
        raise MalformedRequest("the request's JSON is not an object")
    return read_request(request, raw, sizes, max_batch)


def read_request(
    request: dict[str, Any], raw: memoryview, sizes: Sequence[tuple[int, int]], max_batch: int
) -> InferRequest | PictureRequest:
    """Read a request whose JSON is parsed; `raw` are its tensors' bytes. Raises the same errors."""
    tensor = _only_input(request)
    parameters = _object(request, "parameters")
    identity = request.get("id")
    if identity is not None and not isinstance(identity, str):
        raise MalformedRequest("id: expected a string")
    threshold, iou = _fraction(parameters, "threshold"), _fraction(parameters, "iou")
    outputs, resize = _outputs(request, parameters), _resize(parameters)
    if tensor["datatype"] == _FILES:
        if resize is not None:
            raise MalformedRequest("resize: picture files are resized as the model requires")
        pictures = _read_pictures(tensor, raw, max_batch)
        return PictureRequest(identity, pictures, threshold, iou, outputs)
    images = _read_pixels(tensor, raw, sizes, max_batch)
    return InferRequest(identity, images, threshold, iou, outputs, resize)


def encode_response(
    response: InferResponse, outputs: Sequence[Output]
) -> tuple[bytes, dict[str, str]]:
    """Return body and headers; the response has these outputs, in this order.

    It carries the labels of its classes, because the caller may have read the labels of another
    version.
    """
    tensors = [response.tensor(output.name) for output in outputs]
    head: dict[str, Any] = {
        "model_name": response.model_name,
        "model_version": response.model_version,
        "parameters": {"digest": response.digest, "labels": response.named_labels()},
        "outputs": [
            _describe(output, tensor) for output, tensor in zip(outputs, tensors, strict=True)
        ],
    }
    if response.id is not None:
        head["id"] = response.id
    # Numbers of float32 need half as many digits as the same numbers of float64.
    encoded = orjson.dumps(head, option=orjson.OPT_SERIALIZE_NUMPY)
    binary = [
        tensor.tobytes() for output, tensor in zip(outputs, tensors, strict=True) if output.binary
    ]
    if not binary:
        return encoded, {"Content-Type": "application/json"}
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(encoded))}
    return b"".join([encoded, *binary]), headers


def read_header_length(header: str | None, body: bytes) -> int | None:
    """Return the length of a request's JSON in bytes, or None if all of its body is JSON.

    Raises MalformedRequest for another header than a number up to the length of the body.
    """
    if header is None:
        return None
    if not (header.isascii() and header.isdigit() and len(header) <= 12):
        raise MalformedRequest(f"{HEADER_LENGTH}: expected the length of the JSON in bytes")
    length = int(header)
    if length > len(body):
        raise MalformedRequest(f"{HEADER_LENGTH}: is {length} bytes, and the body has {len(body)}")
    return length


def datatype_of(tensor: NDArray[Any]) -> str:
    """Return the protocol's name for the numbers of an output."""
    return "FP32" if tensor.dtype.kind == "f" else "INT64"


def describe_inputs(width: int, height: int) -> list[dict[str, Any]]:
    """Return the input of the protocol's model metadata; sizes in pixels."""
    return [{"name": INPUT_NAME, "datatype": "UINT8", "shape": [-1, height, width, 3]}]


def describe_outputs() -> list[dict[str, Any]]:
    """Return the outputs of the protocol's model metadata."""
    return [
        {"name": DETECTIONS, "datatype": "FP32", "shape": [-1, COLUMNS]},
        {"name": COUNTS, "datatype": "INT64", "shape": [-1]},
    ]


def _not_json(body: bytes, header_length: int | None) -> str:
    """Return what is wrong with a body that is not JSON as far as it should be."""
    if header_length is not None:
        return f"the first {header_length} bytes, as {HEADER_LENGTH} says, are not JSON"
    if body.lstrip().startswith(b"{"):
        return f"the body is not JSON; binary data behind the JSON needs the header {HEADER_LENGTH}"
    return "the body is not JSON: a picture file is an element of a BYTES tensor"


def _only_input(request: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON of the tensor `images`."""
    inputs = request.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        expected = f"expected a list with exactly one tensor, {INPUT_NAME!r}"
        raise MalformedRequest(f"inputs: {expected}{_null(request, 'inputs')}")
    tensor: dict[str, Any] = inputs[0]
    if tensor.get("name") != INPUT_NAME:
        expected = f"expected the tensor {INPUT_NAME!r}"
        raise MalformedRequest(f"inputs: {expected}{_null(tensor, 'name')}")
    if tensor.get("datatype") not in _DATATYPES:
        expected = f"expected datatype {', '.join(_DATATYPES[:-1])} or {_DATATYPES[-1]}"
        raise MalformedRequest(f"{INPUT_NAME}: {expected}{_null(tensor, 'datatype')}")
    return tensor


def _read_pixels(
    tensor: dict[str, Any], raw: memoryview, sizes: Sequence[tuple[int, int]], max_batch: int
) -> Image:
    """Return the pixels of a UINT8 or FP32 tensor; `raw` is what follows the JSON."""
    shape = _read_shape(tensor, sizes, max_batch)
    kind = _PIXELS[tensor["datatype"]]
    expected = int(np.prod(shape)) * kind.itemsize
    if not _is_binary(tensor, raw, expected):
        return _read_numbers(tensor, kind, shape)
    images: Image = np.frombuffer(raw, kind).reshape(shape)
    if kind.kind == "f" and not np.isfinite(images).all():
        raise MalformedRequest(f"{INPUT_NAME}: expected finite numbers")
    return images


def _read_pictures(tensor: dict[str, Any], raw: memoryview, max_batch: int) -> tuple[bytes, ...]:
    """Return the elements of a BYTES tensor of shape [n] or [n, 1]."""
    shape: Any = tensor.get("shape")
    is_shape = isinstance(shape, list) and shape and all(type(n) is int for n in shape)
    if not is_shape or shape[1:] not in ([], [1]):
        expected = f"expected shape [n] or [n, 1] of datatype {_FILES}"
        raise MalformedRequest(f"{INPUT_NAME}: {expected}{_null(tensor, 'shape')}")
    count = _check_count(shape[0], max_batch)
    is_binary = _is_binary(tensor, raw, len(raw))
    try:
        return split_elements(raw, count) if is_binary else read_strings(tensor.get("data"), count)
    except MalformedRequest as error:
        raise MalformedRequest(f"{INPUT_NAME}: {error}{_null(tensor, 'data')}") from None


def _is_binary(tensor: dict[str, Any], raw: memoryview, expected: int) -> bool:
    """Return whether a tensor has binary data; raises MalformedRequest for another length."""
    declared = _object(tensor, "parameters").get("binary_data_size")
    if declared is None:
        return False
    if declared != expected or len(raw) != expected:
        raise MalformedRequest(
            f"{INPUT_NAME}: expected {expected} bytes of binary data; binary_data_size is "
            f"{str(declared)[:40]}, and {len(raw)} bytes follow the JSON"
        )
    return True


def _read_shape(tensor: dict[str, Any], sizes: Sequence[tuple[int, int]], max_batch: int) -> Shape:
    shape: Any = tensor.get("shape")
    is_shape = isinstance(shape, list) and len(shape) == 4 and all(type(n) is int for n in shape)
    if not is_shape or shape[3] != 3 or (shape[2], shape[1]) not in sizes:
        width, height = sizes[0]
        expected = f"expected shape [n, {height}, {width}, 3]"
        raise MalformedRequest(f"{INPUT_NAME}: {expected}{_null(tensor, 'shape')}")
    return _check_count(shape[0], max_batch), shape[1], shape[2], 3


def _check_count(count: int, max_batch: int) -> int:
    if not 1 <= count <= max_batch:
        raise ParameterOutOfRange(f"{INPUT_NAME}: expected 1 to {max_batch} pictures")
    return count


def _read_numbers(tensor: dict[str, Any], kind: np.dtype[Any], shape: Shape) -> Image:
    """Read JSON numbers; the protocol allows nested lists, and a flat list in row-major order."""
    expected = int(np.prod(shape))
    try:
        data = tensor.get("data")
        # Those of gRPC are an array already.
        values = data if isinstance(data, np.ndarray) else to_array(data)
        numbers = values.dtype.kind in ("iuf" if kind.kind == "f" else "iu")
        if numbers and values.size == expected and values.min() >= 0 and values.max() <= 255:
            return values.astype(kind).reshape(shape)
    except (TypeError, ValueError):
        pass  # reported below
    raise MalformedRequest(
        f"{INPUT_NAME}: expected {expected} numbers from 0 to 255 as data{_null(tensor, 'data')}"
    )


def _outputs(request: dict[str, Any], parameters: dict[str, Any]) -> tuple[Output, ...]:
    """Return the outputs that a request asks for, by default all of them.

    `binary_data` of an output has precedence over `binary_data_output` of the request.
    """
    listed = request.get("outputs")
    if listed is None:
        listed = []
    if not isinstance(listed, list) or not all(isinstance(output, dict) for output in listed):
        raise MalformedRequest("outputs: expected a list of objects")
    binary = _flag(parameters, "binary_data_output") or False
    found: dict[str, Output] = {}
    for output in listed:
        name = output.get("name")
        if name not in (DETECTIONS, COUNTS):
            expected = f"expected {DETECTIONS!r} or {COUNTS!r}"
            raise MalformedRequest(f"outputs: {expected}{_null(output, 'name')}")
        if name in found:
            raise MalformedRequest(f"outputs: {name!r} is there twice")
        own = _flag(_object(output, "parameters"), "binary_data")
        found[name] = Output(name, binary if own is None else own)
    return tuple(found.values()) or tuple(Output(output.name, binary) for output in ALL_OUTPUTS)


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


def _flag(parent: dict[str, Any], key: str) -> bool | None:
    """Return an optional truth value; None is that it is absent or null."""
    value = parent.get(key)
    if value is not None and not isinstance(value, bool):
        raise MalformedRequest(f"{key}: expected true or false")
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


def _describe(output: Output, tensor: NDArray[Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": output.name,
        "datatype": datatype_of(tensor),
        "shape": list(tensor.shape),
    }
    if output.binary:
        described["parameters"] = {"binary_data_size": tensor.nbytes}
    else:
        described["data"] = tensor.ravel()
    return described
