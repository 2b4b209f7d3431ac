"""Ray Serve: replicas of a deployment behind its HTTP proxy."""

import asyncio
import os
import signal

# Before ray reads them: no usage statistics are sent.
os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1000",
    "RAY_SERVE_LOG_TO_STDERR": "0",
}

import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse

from bench.peers.work import read_settings

SETTINGS = read_settings()
MAX_ONGOING = 16


@serve.deployment(
    num_replicas=SETTINGS.workers,
    max_ongoing_requests=MAX_ONGOING,
    logging_config={"enable_access_log": False, "log_level": "WARNING"},
)
class Detector:
    """The deployment; Ray creates one for every replica."""

    def __init__(self) -> None:
        """Load the model."""
        self.detector = SETTINGS.load()

    async def __call__(self, request: Request) -> JSONResponse:
        """Return the detections of a picture."""
        data = await request.body()
        found = await asyncio.to_thread(self.detector.detect, data, SETTINGS.threshold)
        # Ray sends any other type with chunked encoding.
        return JSONResponse({"data": found})


if __name__ == "__main__":
    ray.init(include_dashboard=False, log_to_driver=False, num_cpus=2 * SETTINGS.workers + 2)
    serve.start(
        http_options={"host": "127.0.0.1", "port": SETTINGS.port},
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    )
    serve.run(Detector.bind(), route_prefix="/inference")
    signal.pause()
