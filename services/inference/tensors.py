"""Read the input tensor of a request: pixels, or encoded pictures.

Its data are JSON in the tensor itself, or bytes behind the request's JSON. A BYTES tensor has an
encoded picture as each element. As binary data, a 4-byte little-endian length comes before each
element; in JSON, which cannot hold bytes, an element is a string of base64 (RFC 4648).

Source: Triton, `docs/protocol/extension_binary_data.md`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from elastic_yolo.detector.boxes import Image
from services.common.request.errors import MalformedRequest, ParameterOutOfRange
from services.inference.members import note_null, optional_object

INPUT_NAME = "images"
PICTURES = "BYTES"
"""The datatype of encoded pictures."""
# Pixels from 0 to 255, rounded or not.
_PIXELS: dict[str, np.dtype[Any]] = {"UINT8": np.dtype("u1"), "FP32": np.dtype("<f4")}
_DATATYPES = (*_PIXELS, PICTURES)
_LENGTH_BYTES = 4

Shape = tuple[int, int, int, int]


def only_input(request: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON of the tensor `images`; raises MalformedRequest for anything else."""
    inputs = request.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        expected = f"expected a list with exactly one tensor, {INPUT_NAME!r}"
        raise MalformedRequest(f"inputs: {expected}{note_null(request, 'inputs')}")
    tensor: dict[str, Any] = inputs[0]
    if tensor.get("name") != INPUT_NAME:
        expected = f"expected the tensor {INPUT_NAME!r}"
        raise MalformedRequest(f"inputs: {expected}{note_null(tensor, 'name')}")
    if tensor.get("datatype") not in _DATATYPES:
        expected = f"expected datatype {', '.join(_DATATYPES[:-1])} or {_DATATYPES[-1]}"
        raise MalformedRequest(f"{INPUT_NAME}: {expected}{note_null(tensor, 'datatype')}")
    return tensor


def has_pictures(tensor: dict[str, Any]) -> bool:
    """Return whether a tensor's elements are encoded pictures."""
    return bool(tensor["datatype"] == PICTURES)


def read_pixels(
    tensor: dict[str, Any], raw: memoryview, sizes: Sequence[tuple[int, int]], max_batch: int
) -> Image:
    """Return the pixels of a UINT8 or FP32 tensor, (n, height, width, 3) uint8 or float32.

    `raw` is what follows the JSON. Raises MalformedRequest, and ParameterOutOfRange for another
    number of pictures than 1 to `max_batch`.
    """
    shape = _read_shape(tensor, sizes, max_batch)
    kind = _PIXELS[tensor["datatype"]]
    expected = int(np.prod(shape)) * kind.itemsize
    if not _is_binary(tensor, raw, expected):
        return _read_numbers(tensor, kind, shape)
    images: Image = np.frombuffer(raw, kind).reshape(shape)
    if kind.kind == "f" and not np.isfinite(images).all():
        raise MalformedRequest(f"{INPUT_NAME}: expected finite numbers")
    return images


def read_pictures(tensor: dict[str, Any], raw: memoryview, max_batch: int) -> tuple[bytes, ...]:
    """Return the elements of a BYTES tensor of shape [n] or [n, 1]; raises as `read_pixels`."""
    shape: Any = tensor.get("shape")
    is_shape = isinstance(shape, list) and shape and all(type(n) is int for n in shape)
    if not is_shape or shape[1:] not in ([], [1]):
        expected = f"expected shape [n] or [n, 1] of datatype {PICTURES}"
        raise MalformedRequest(f"{INPUT_NAME}: {expected}{note_null(tensor, 'shape')}")
    count = _check_count(shape[0], max_batch)
    if _is_binary(tensor, raw, len(raw)):
        return split_elements(raw, count)
    return tuple(_read_strings(tensor, count))


def split_elements(raw: memoryview, count: int) -> tuple[bytes, ...]:
    """Return `count` elements of binary data; raises MalformedRequest unless they fill it."""
    elements = []
    at = 0
    for _ in range(count):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(raw[at:start], "little")
        if at > len(raw) or start > len(raw):
            break
        elements.append(bytes(raw[start:at]))
    if len(elements) != count or at != len(raw):
        raise MalformedRequest(
            f"{INPUT_NAME}: expected {count} elements with a 4-byte little-endian length before "
            f"each; they do not fill the {len(raw)} bytes of binary data"
        )
    return tuple(elements)


def _is_binary(tensor: dict[str, Any], raw: memoryview, expected: int) -> bool:
    """Return whether a tensor has binary data; raises MalformedRequest for another length."""
    declared = optional_object(tensor, "parameters").get("binary_data_size")
    if declared is None:
        return False
    if declared != expected or len(raw) != expected:
        raise MalformedRequest(
            f"{INPUT_NAME}: expected {expected} bytes of binary data, "
            f"binary_data_size is {declared}, the body has {len(raw)}"
        )
    return True


def _read_shape(tensor: dict[str, Any], sizes: Sequence[tuple[int, int]], max_batch: int) -> Shape:
    shape: Any = tensor.get("shape")
    is_shape = isinstance(shape, list) and len(shape) == 4 and all(type(n) is int for n in shape)
    if not is_shape or shape[3] != 3 or (shape[2], shape[1]) not in sizes:
        width, height = sizes[0]
        expected = f"expected shape [n, {height}, {width}, 3]"
        raise MalformedRequest(f"{INPUT_NAME}: {expected}{note_null(tensor, 'shape')}")
    return _check_count(shape[0], max_batch), shape[1], shape[2], 3


def _check_count(count: int, max_batch: int) -> int:
    if not 1 <= count <= max_batch:
        raise ParameterOutOfRange(f"{INPUT_NAME}: expected 1 to {max_batch} pictures")
    return count


def _read_numbers(tensor: dict[str, Any], kind: np.dtype[Any], shape: Shape) -> Image:
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
        f"{INPUT_NAME}: expected {expected} numbers from 0 to 255 as data"
        f"{note_null(tensor, 'data')}"
    )


def _read_strings(tensor: dict[str, Any], count: int) -> Iterator[bytes]:
    """Read the elements of a BYTES tensor from JSON: strings, or lists of one string each."""
    data = tensor.get("data")
    elements = data if isinstance(data, list) else []
    for element in elements:
        text = element[0] if isinstance(element, list) and len(element) == 1 else element
        if not isinstance(text, str):
            break
        try:
            yield base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise MalformedRequest(f"{INPUT_NAME}: a string of data is not base64") from None
    else:
        if len(elements) == count:
            return
    raise MalformedRequest(
        f"{INPUT_NAME}: expected {count} strings of base64 as data{note_null(tensor, 'data')}"
    )
