"""Messages of the protocol from and to the form that they have over HTTP.

Tensors are in `raw_input_contents`, or as numbers in `contents`; those of a response always in
`raw_output_contents`.

Source: kserve/open-inference-protocol, `specification/protocol/inference_grpc.md`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from services.common.request.errors import MalformedRequest
from services.inference.elements import join_elements
from services.inference.grpc import open_inference_pb2 as pb
from services.inference.protocol import InferResponse, Output, datatype_of

# Fields of a message beside raw tensors; more is data in typed contents.
_HEAD_BYTES = 64 * 1024
_RAW = pb.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER
_LENGTH_DELIMITED = 2
# Where the numbers of a tensor are by its datatype, and their type in a message.
_CONTENTS: dict[str, tuple[str, type[np.number[Any]]]] = {
    "UINT8": ("uint_contents", np.uint32),
    "FP32": ("fp32_contents", np.float32),
}
# Taken as text as well: kserve's client sends numbers as parameters if they are whole.
_FRACTIONS = ("threshold", "iou")
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
    """Return a request in the form of HTTP's JSON, and the binary data behind it.

    Raises MalformedRequest if the contents of the tensor are not those of its datatype.
    """
    request: dict[str, Any] = {
        "id": message.id or None,
        "parameters": _read_parameters(message.parameters),
        "inputs": [
            {"name": one.name, "datatype": one.datatype, "shape": list(one.shape)}
            for one in message.inputs
        ],
        "outputs": [{"name": one.name} for one in message.outputs],
    }
    content = None
    # Any other number of tensors is refused by whoever reads the JSON.
    if len(message.inputs) == 1:
        (described,), (tensor,) = request["inputs"], message.inputs
        content = _read_bytes(message, tensor)
        if content is None:
            described["data"] = _read_numbers(tensor)
        else:
            described["parameters"] = {"binary_data_size": len(content)}
    return request, memoryview(content or b"")


def from_response(response: InferResponse, outputs: Sequence[Output]) -> pb.ModelInferResponse:
    """Return the message of a response with these outputs, in this order.

    Its parameter `labels` is JSON: a parameter cannot be an object.
    """
    message = pb.ModelInferResponse(
        model_name=response.model_name,
        model_version=response.model_version,
        id=response.id or "",
    )
    message.parameters["digest"].string_param = response.digest
    message.parameters["labels"].string_param = orjson.dumps(response.named_labels()).decode()
    for output in outputs:
        tensor = response.tensor(output.name)
        datatype = datatype_of(tensor)
        message.outputs.add(name=output.name, datatype=datatype, shape=tensor.shape)
        message.raw_output_contents.append(tensor.tobytes())
    return message


def _read_bytes(
    message: pb.ModelInferRequest, tensor: pb.ModelInferRequest.InferInputTensor
) -> bytes | None:
    """Return a tensor's binary data, as over HTTP; None if it has numbers."""
    raw = message.raw_input_contents
    if raw:
        if len(raw) != 1 or tensor.HasField("contents"):
            raise MalformedRequest(
                "raw_input_contents: expected one element for the input, and no contents"
            )
        return raw[0]
    if tensor.datatype == "BYTES":
        return join_elements(tensor.contents.bytes_contents)
    return None


def _read_numbers(tensor: pb.ModelInferRequest.InferInputTensor) -> NDArray[Any] | None:
    """Return the numbers of a tensor, or None for a datatype that is refused later."""
    found = {field.name for field, _ in tensor.contents.ListFields()}
    if tensor.datatype not in _CONTENTS:
        return None
    field, kind = _CONTENTS[tensor.datatype]
    if not found <= {field}:
        raise MalformedRequest(f"contents: expected {field} for {tensor.datatype}")
    return np.fromiter(getattr(tensor.contents, field), kind)


def _read_parameters(parameters: Mapping[str, pb.InferParameter]) -> dict[str, Any]:
    return {name: _read_parameter(name, parameter) for name, parameter in parameters.items()}


def _read_parameter(name: str, parameter: pb.InferParameter) -> Any:
    choice = parameter.WhichOneof("parameter_choice")
    value = None if choice is None else getattr(parameter, choice)
    if name in _FRACTIONS and isinstance(value, str):
        with suppress(ValueError):
            return float(value)
    return value


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
