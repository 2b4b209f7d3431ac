"""Messages of the protocol from and to the form that they have over HTTP.

Tensors are in `raw_input_contents`, or as numbers in `contents`; those of a response always in
`raw_output_contents`.

Source: kserve/open-inference-protocol, `specification/protocol/inference_grpc.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from elastic_yolo.detector.boxes import CLASS
from services.common.request.errors import MalformedRequest
from services.inference.grpc import open_inference_pb2 as pb
from services.inference.protocol import COUNTS, DETECTIONS, INPUT_NAME, InferResponse

# Fields of a message beside raw tensors; more is data in typed contents.
_HEAD_BYTES = 64 * 1024
_RAW = pb.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER
_LENGTH_DELIMITED = 2
# A request has one raw tensor, an input, and a few parameters.
_MOST_FIELDS = 64


def is_quick_to_parse(message: bytes) -> bool:
    """Return whether a ModelInferRequest is all raw tensors, but for a few KB.

    A tensor in typed contents takes up to a second, and up to eight times the memory of its
    message. This looks at the outermost fields alone, and judges nothing but their sizes.

    Source of the format: protobuf.dev, "Encoding".
    """
    at = head = 0
    for _ in range(_MOST_FIELDS):
        if at >= len(message):
            return True
        key, at = _read_varint(message, at)
        length, at = _read_varint(message, at)
        if key & 7 != _LENGTH_DELIMITED:
            return False
        at += length
        head += 0 if key >> 3 == _RAW else length
        if head > _HEAD_BYTES:
            return False
    return False


def to_json(message: pb.ModelInferRequest) -> tuple[dict[str, Any], memoryview]:
    """Return a request in the form of HTTP's JSON, and the bytes of its raw tensor.

    Raises MalformedRequest if raw tensors and inputs do not match.
    """
    raw = list(message.raw_input_contents)
    if raw and len(raw) != len(message.inputs):
        raise MalformedRequest(
            f"raw_input_contents: expected one for each input, found {len(raw)} for "
            f"{len(message.inputs)} inputs"
        )
    inputs = [_input_to_json(one) for one in message.inputs]
    for one, content in zip(inputs, raw, strict=False):
        # What HTTP's JSON says of binary data behind it.
        one["parameters"]["binary_data_size"] = len(content)
    request: dict[str, Any] = {
        "id": message.id or None,
        "parameters": _parameters(message.parameters),
        "inputs": inputs,
        "outputs": [{"name": one.name} for one in message.outputs],
    }
    return request, memoryview(raw[0] if raw else b"")


def from_response(response: InferResponse) -> pb.ModelInferResponse:
    """Return the message of a response.

    Its parameter `labels` is JSON: a parameter cannot be an object.
    """
    rows = np.concatenate(response.detections)
    classes = sorted(set(rows[:, CLASS].astype(int).tolist()))
    labels = {str(number): response.labels[number] for number in classes}
    message = pb.ModelInferResponse(
        model_name=response.model_name,
        model_version=response.model_version,
        id=response.id or "",
    )
    message.parameters["digest"].string_param = response.digest
    message.parameters["labels"].string_param = orjson.dumps(labels).decode()
    tensors: dict[str, NDArray[Any]] = {
        DETECTIONS: rows.astype("<f4"),
        COUNTS: np.array([len(rows) for rows in response.detections], "<i8"),
    }
    for name, tensor in tensors.items():
        datatype = "FP32" if tensor.dtype.kind == "f" else "INT64"
        message.outputs.add(name=name, datatype=datatype, shape=tensor.shape)
        message.raw_output_contents.append(tensor.tobytes())
    return message


def _input_to_json(tensor: pb.ModelInferRequest.InferInputTensor) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "shape": list(tensor.shape),
        "parameters": {
            name: value
            for name, value in _parameters(tensor.parameters).items()
            if name != "binary_data_size"
        },
        "data": _typed_contents(tensor),
    }


def _typed_contents(tensor: pb.ModelInferRequest.InferInputTensor) -> NDArray[Any] | None:
    """Return the numbers in a tensor's typed contents, if it has any; raises MalformedRequest."""
    if not tensor.HasField("contents"):
        return None
    filled = {field.name for field, _ in tensor.contents.ListFields()}
    match tensor.datatype:
        case "UINT8" if filled <= {"uint_contents"}:
            return np.fromiter(tensor.contents.uint_contents, np.uint32)
        case "FP32" if filled <= {"fp32_contents"}:
            return np.fromiter(tensor.contents.fp32_contents, np.float32)
        case "UINT8":
            raise MalformedRequest(f"{INPUT_NAME}: expected uint_contents for UINT8")
        case "FP32":
            raise MalformedRequest(f"{INPUT_NAME}: expected fp32_contents for FP32")
        case _:
            return None


def _parameters(parameters: Mapping[str, pb.InferParameter]) -> dict[str, Any]:
    return {name: _value(parameter) for name, parameter in parameters.items()}


def _value(parameter: pb.InferParameter) -> Any:
    choice = parameter.WhichOneof("parameter_choice")
    return None if choice is None else getattr(parameter, choice)


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at a position, and the position behind it."""
    number = shift = 0
    while at < len(message):
        byte = message[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80 or shift > 63:
            break
    return number, at
