"""MLServer: a runtime with a custom route, so that the picture needs no base64 in JSON.

Without parallel workers, requests do not cross to another process; threads do the work.
"""

import asyncio
import os
import socket
import sys
from typing import Any

from mlserver import MLModel
from mlserver.handlers import custom_handler
from starlette.requests import Request

from bench.peers.work import SharedDetector, read_settings

SETTINGS = read_settings()


class DetectorRuntime(MLModel):
    """The model as a runtime of MLServer."""

    detector: SharedDetector

    async def load(self) -> bool:
        """Load the model."""
        self.detector = SETTINGS.load()
        return True

    @custom_handler(rest_path="/inference")
    async def inference(self, request: Request) -> dict[str, Any]:
        """Return the detections of a picture."""
        data = await request.body()
        found = await asyncio.to_thread(self.detector.detect, data, SETTINGS.threshold)
        return {"data": found}


def free_port() -> str:
    """Return a port for a protocol that is not used here."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


if __name__ == "__main__":
    os.environ |= {
        "MLSERVER_HOST": "127.0.0.1",
        "MLSERVER_HTTP_PORT": str(SETTINGS.port),
        "MLSERVER_GRPC_PORT": free_port(),
        "MLSERVER_METRICS_PORT": free_port(),
        "MLSERVER_PARALLEL_WORKERS": "0",
        "MLSERVER_DEBUG": "false",
        "MLSERVER_MODEL_NAME": "detector",
        "MLSERVER_MODEL_IMPLEMENTATION": "server.DetectorRuntime",
    }
    command = [sys.executable, "-c", "from mlserver.cli import main; main()"]
    os.execv(sys.executable, [*command, "start", "."])  # noqa: S606  # its own command
