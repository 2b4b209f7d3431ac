"""A picture as a request of the Open Inference Protocol: a BYTES tensor, whose answer is JSON.

Source: Triton, `docs/protocol/extension_binary_data.md`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

HEADER_LENGTH = "Inference-Header-Content-Length"
_COLUMNS = 6


def encode_picture(picture: bytes, parameters: Mapping[str, float]) -> tuple[bytes, int]:
    """Return the body for a picture file, and the length of its JSON in bytes."""
    tensor = {
        "name": "images",
        "datatype": "BYTES",
        "shape": [1],
        "parameters": {"binary_data_size": 4 + len(picture)},
    }
    request = {
        "inputs": [tensor],
        "outputs": [{"name": "detections"}],
        "parameters": dict(parameters),
    }
    head = json.dumps(request).encode()
    return head + len(picture).to_bytes(4, "little") + picture, len(head)


def read_detections(response: Mapping[str, Any]) -> list[Any]:
    """Return [[label, score, [x, y, w, h]], ...] of a response's JSON.

    Raises LookupError or TypeError for other JSON.
    """
    labels = response["parameters"]["labels"]
    numbers = response["outputs"][0]["data"]
    rows = [numbers[at : at + _COLUMNS] for at in range(0, len(numbers), _COLUMNS)]
    return [
        [labels[str(int(number))], score, [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]]
        for x1, y1, x2, y2, score, number in rows
    ]
