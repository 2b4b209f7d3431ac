"""Ask for detections with the binary tensor extension: the pixels travel as they lie in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from elastic_yolo.detector.boxes import COLUMNS, Floats, Image
from services.common.peer import Peer
from services.common.request.context import RequestContext

_HEADER_LENGTH = "Inference-Header-Content-Length"


@dataclass(frozen=True)
class Inferred:
    """An answer: `found` is (k, 6) in network pixels; the rest says which model gave it."""

    found: Floats
    labels: dict[int, str]
    """Of the classes in it."""
    model: str
    version: str
    digest: str


async def infer(
    inference: Peer,
    context: RequestContext,
    path: str,
    image: Image,
    parameters: dict[str, float],
) -> Inferred:
    """Send one (height, width, 3) picture at network size to a model and return what was found."""
    head = orjson.dumps(_request(image, parameters))
    response = await inference.send(
        context,
        "POST",
        f"{path}/infer",
        content=[head, image.data.cast("B")],
        headers={"Content-Type": "application/octet-stream", _HEADER_LENGTH: str(len(head))},
    )
    try:
        length = int(response.headers[_HEADER_LENGTH.lower()])
        answer = orjson.loads(response.content[:length])
        rows = answer["outputs"][0]["shape"][0]
        found = np.frombuffer(response.content, "<f4", rows * COLUMNS, offset=length)
        facts = answer["parameters"]
        return Inferred(
            found=found.reshape(rows, COLUMNS),
            labels={int(number): label for number, label in facts["labels"].items()},
            model=answer["model_name"],
            version=answer["model_version"],
            digest=facts["digest"],
        )
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise inference.invalid_response() from error


def _request(image: Image, parameters: dict[str, float]) -> dict[str, Any]:
    return {
        "inputs": [
            {
                "name": "images",
                "datatype": "UINT8" if image.dtype == np.uint8 else "FP32",
                "shape": [1, *image.shape],
                "parameters": {"binary_data_size": image.nbytes},
            }
        ],
        "outputs": [{"name": "detections", "parameters": {"binary_data": True}}],
        "parameters": parameters,
    }
