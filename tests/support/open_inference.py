"""Requests and responses of the Open Inference Protocol, as a client makes and reads them."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import httpx
import numpy as np

from services.inference.protocol import HEADER_LENGTH

_TYPES = {"FP32": "<f4", "INT64": "<i8"}
BINARY = {"binary_data": True}


def pixel_body(images: np.ndarray, **members: Any) -> tuple[bytes, dict[str, str]]:
    """Return body and headers for (n, height, width, 3) uint8 pixels as binary data."""
    return _binary("UINT8", list(images.shape), images.tobytes(), members)


def picture_body(
    pictures: Sequence[bytes], *, shape: list[int] | None = None, **members: Any
) -> tuple[bytes, dict[str, str]]:
    """Return body and headers for picture files as binary data."""
    raw = b"".join(len(one).to_bytes(4, "little") + one for one in pictures)
    return _binary("BYTES", shape or [len(pictures)], raw, members)


def picture_json(pictures: Sequence[bytes], *, nested: bool = False, **members: Any) -> Any:
    """Return a request's JSON with picture files as base64."""
    data: list[Any] = [base64.b64encode(one).decode() for one in pictures]
    shape = [len(pictures), 1] if nested else [len(pictures)]
    tensor = {
        "name": "images",
        "datatype": "BYTES",
        "shape": shape,
        "data": [[one] for one in data] if nested else data,
    }
    return {"inputs": [tensor], **members}


def read_outputs(response: httpx.Response) -> dict[str, np.ndarray]:
    """Return the outputs of a response by name, in its order."""
    assert response.status_code == 200, response.text
    length = int(response.headers.get(HEADER_LENGTH, len(response.content)))
    head, raw = json.loads(response.content[:length]), response.content[length:]
    found, at = {}, 0
    for output in head["outputs"]:
        kind = _TYPES[output["datatype"]]
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            values = np.array(output["data"], kind)
        else:
            assert "data" not in output
            values = np.frombuffer(raw[at : at + size], kind)
            at += size
        found[output["name"]] = values.reshape(output["shape"])
    assert at == len(raw)
    return found


def _binary(
    datatype: str, shape: list[int], raw: bytes, members: dict[str, Any]
) -> tuple[bytes, dict[str, str]]:
    tensor = {
        "name": "images",
        "datatype": datatype,
        "shape": shape,
        "parameters": {"binary_data_size": len(raw)},
    }
    head = json.dumps({"inputs": [tensor], **members}).encode()
    return head + raw, {HEADER_LENGTH: str(len(head))}
