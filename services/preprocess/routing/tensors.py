"""Tensors of the Open Inference Protocol, as servers of any make describe and send them.

Sources: kserve/open-inference-protocol, `specification/protocol/inference_rest.md`; Triton,
`docs/protocol/extension_binary_data.md`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray

from elastic_yolo.detector.boxes import Image
from services.common.peer.exchange import Buffer, Response
from services.preprocess.inference_client import HEADER_LENGTH

_DATATYPES = {
    "UINT8": "u1",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
_CHANNELS = 3


@dataclass(frozen=True)
class InputTensor:
    """The tensor that a server takes pixels in."""

    name: str
    datatype: Literal["UINT8", "FP32"]
    layout: Literal["NHWC", "NCHW"]
    size: tuple[int, int]
    """(width, height) in pixels."""

    def fill(self, image: Image, full_scale: int) -> NDArray[Any]:
        """Return (height, width, 3) uint8 pixels as a batch of one, in this datatype and layout.

        A white pixel of a float tensor is `full_scale`.
        """
        pixels = image if self.layout == "NHWC" else image.transpose(2, 0, 1)
        if self.datatype == "FP32":
            scaled: NDArray[Any] = pixels.astype("<f4")
            if full_scale != 255:
                scaled *= np.float32(full_scale / 255)
            pixels = scaled
        return np.ascontiguousarray(pixels)[np.newaxis]


def read_input(metadata: Mapping[str, Any], name: str | None, size: tuple[int, int]) -> InputTensor:
    """Read a model's input from its metadata, the JSON of `GET /v2/models/{name}`.

    `size` is (width, height) of the network; `name` is that of the tensor, None the only one's.
    Raises ValueError with the reason if pictures cannot be sent in it, and KeyError, TypeError or
    AttributeError for JSON that is no metadata.
    """
    inputs = {str(tensor["name"]): tensor for tensor in metadata["inputs"]}
    if name is None and len(inputs) != 1:
        raise ValueError(f"it has the inputs {', '.join(inputs) or 'none'}: say which one is input")
    tensor = inputs.get(name or next(iter(inputs)))
    if tensor is None:
        raise ValueError(f"it has no input {name!r}, but {', '.join(inputs) or 'none'}")
    datatype, shape = tensor["datatype"], [int(length) for length in tensor["shape"]]
    if datatype not in ("UINT8", "FP32"):
        raise ValueError(f"its input has the datatype {datatype}: expected UINT8 or FP32")
    width, height = size
    expected = f"[-1, {height}, {width}, 3] or [-1, 3, {height}, {width}]"
    if len(shape) == 4 and shape[0] in (-1, 1):
        for layout, actual in (
            ("NHWC", [shape[1], shape[2], shape[3]]),
            ("NCHW", [shape[2], shape[3], shape[1]]),
        ):
            wanted = [height, width, _CHANNELS]
            if actual[2] == _CHANNELS and _fits(actual, wanted):
                return InputTensor(str(tensor["name"]), datatype, layout, size)  # type: ignore[arg-type]  # of the tuple
    raise ValueError(f"its input has the shape {shape}: expected {expected}")


def _fits(shape: Sequence[int], wanted: Sequence[int]) -> bool:
    """Return whether each length is the wanted one; -1 stands for any."""
    return all(length in (-1, want) for length, want in zip(shape, wanted, strict=True))


def encode_request(
    tensor: InputTensor, batch: NDArray[Any], outputs: Sequence[str], *, binary: bool
) -> tuple[list[Buffer], dict[str, str]]:
    """Return the body and the headers of a request for some outputs."""
    described: dict[str, Any] = {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "shape": list(batch.shape),
    }
    if not binary:
        described["data"] = batch.ravel()
        head = {"inputs": [described], "outputs": [{"name": name} for name in outputs]}
        encoded = orjson.dumps(head, option=orjson.OPT_SERIALIZE_NUMPY)
        return [encoded], {"Content-Type": "application/json"}
    described["parameters"] = {"binary_data_size": batch.nbytes}
    wanted = [{"name": name, "parameters": {"binary_data": True}} for name in outputs]
    encoded = orjson.dumps({"inputs": [described], "outputs": wanted})
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(encoded))}
    return [encoded, batch.data.cast("B")], headers


@dataclass(frozen=True)
class InferResult:
    """A server's response: its outputs by name, and the version of the model if it states one."""

    outputs: Mapping[str, NDArray[Any]]
    version: str | None


def decode_result(response: Response) -> InferResult:
    """Decode a response, whose tensors are numbers in JSON or binary, each by itself.

    Raises ValueError, LookupError, TypeError or AttributeError for anything else.
    """
    length = response.headers.get(HEADER_LENGTH.lower())
    content = memoryview(response.content)
    head = orjson.loads(content if length is None else content[: int(length)])
    rest = memoryview(b"") if length is None else content[int(length) :]
    outputs = {}
    for described in head["outputs"]:
        kind = np.dtype(_DATATYPES[described["datatype"]])
        size = (described.get("parameters") or {}).get("binary_data_size")
        if size is None:
            values = _read_numbers(described["data"], kind)
        else:
            values, rest = np.frombuffer(rest[:size], kind), rest[size:]
        outputs[str(described["name"])] = values.reshape(described["shape"])
    version = head.get("model_version")
    return InferResult(outputs, None if version is None else str(version))


def _read_numbers(data: Any, kind: np.dtype[Any]) -> NDArray[Any]:
    """Return numbers in JSON as an array; raises ValueError or TypeError."""
    try:
        return np.array(data, kind)
    except OverflowError as error:
        raise ValueError(str(error)) from error
