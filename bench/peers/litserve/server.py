"""LitServe: one process receives requests, others process them, one at a time in each.

`fast_queue` is its quicker way between them. The body goes over as it came: no JSON, no form.
"""

from typing import Annotated, Any

import litserve
from fastapi import Body

from bench.peers.work import SharedDetector, read_settings

SETTINGS = read_settings()


class DetectorApi(litserve.LitAPI):
    """The work in LitServe's four steps."""

    detector: SharedDetector

    def setup(self, device: str) -> None:  # noqa: ARG002  # LitServe calls it so
        """Load the model, once in every worker."""
        self.detector = SETTINGS.load()

    # LitServe reads this annotation to know what FastAPI should hand over.
    def decode_request(self, request: Annotated[bytes, Body()]) -> bytes:
        """Return the raw body."""
        return request

    def predict(self, x: bytes) -> list[Any]:
        """Return the detections of a picture."""
        return self.detector.detect(x, SETTINGS.threshold)

    def encode_response(self, output: list[Any]) -> dict[str, Any]:
        """Return the response."""
        return {"data": output}


if __name__ == "__main__":
    server = litserve.LitServer(
        DetectorApi(api_path="/inference"),
        accelerator="cpu",
        devices=1,
        workers_per_device=SETTINGS.workers,
        fast_queue=True,
    )
    server.run(
        host="127.0.0.1",
        port=SETTINGS.port,
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
