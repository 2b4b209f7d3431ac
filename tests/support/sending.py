"""Grey pictures in batches for the inference service, in the binary tensor extension."""

from __future__ import annotations

import httpx
import numpy as np

from elastic_yolo.lab.processes.stack import Service
from services.inference.protocol import HEADER_LENGTH

BATCH = 16


def send(service: Service, brightness: int, batches: int, **parameters: float) -> None:
    """Send batches of 16 pictures to the tiny model."""
    images = np.full((BATCH, 32, 32, 3), brightness, np.uint8)
    tensor = (
        f'{{"name": "images", "datatype": "UINT8", "shape": [{BATCH}, 32, 32, 3], '
        f'"parameters": {{"binary_data_size": {images.nbytes}}}}}'
    )
    stated = ", ".join(f'"{name}": {value}' for name, value in parameters.items())
    head = f'{{"inputs": [{tensor}], "parameters": {{{stated}}}}}'.encode()
    headers = {HEADER_LENGTH: str(len(head))}
    with httpx.Client(base_url=service.url) as client:
        for _ in range(batches):
            answer = client.post(
                "/v2/models/tiny/infer", content=head + images.tobytes(), headers=headers
            )
            assert answer.status_code == 200
