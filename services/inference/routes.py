"""The routes of the Open Inference Protocol v2, and one of our own for the golden picture."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from starlette.routing import compile_path

from detector.boxes import Floats
from detector.detector import Detector
from services.common.body import Bodies
from services.common.context import RequestContext, context_of
from services.common.errors import UnknownModel
from services.common.fast_lane import Lane
from services.common.golden import Golden
from services.common.probes import Readiness
from services.common.version import VERSION
from services.inference import protocol
from services.inference.protocol import InferAnswer, InferRequest
from services.inference.scheduler import Scheduler

_INFER = "/v2/models/{name}/infer"
_INFER_VERSION = "/v2/models/{name}/versions/{version}/infer"
# Room for the JSON in front of the tensors.
_HEAD_BYTES = 64 * 1024
_FLOAT_BYTES = 4
# A pixel value in JSON takes up to three digits and a comma, and some clients add a blank.
_JSON_BYTES_PER_VALUE = 5


@dataclass(frozen=True)
class Inference:
    """What the routes work with."""

    detector: Detector
    golden: Golden
    scheduler: Scheduler
    bodies: Bodies
    max_batch: int

    async def parse(self, body: bytes, header_length: str | None) -> InferRequest:
        """Read a request's body; raises what `protocol.parse_request` raises."""
        size, most = self.detector.network_size, self.max_batch
        if header_length is not None:
            return protocol.parse_request(body, header_length, size, most)
        # Tensors as JSON numbers take up to a second: not on the event loop.
        return await asyncio.to_thread(protocol.parse_request, body, None, size, most)

    async def find(self, context: RequestContext, request: InferRequest) -> list[Floats]:
        """Run the engine on a request and return one (k, 6) array for each picture."""
        model = self.detector.model
        threshold = model.threshold if request.threshold is None else request.threshold
        iou = model.iou if request.iou is None else request.iou

        return await self.scheduler.run(
            context,
            request.images,
            lambda outputs: self.detector.find(outputs, threshold, iou),
        )

    def require_model(self, name: str, version: str | None) -> None:
        """Raise UnknownModel unless this is the model that is served."""
        model = self.detector.model
        if name != model.name or version not in (None, model.version):
            asked = name if version is None else f"{name} version {version}"
            raise UnknownModel(f"no model {asked[:80]!r} here; there is {model.name!r}")

    def max_body_bytes(self, *, binary: bool) -> int:
        """Return how long a request's body can reasonably be."""
        values = self.max_batch * int(np.prod(self.detector.network_size)) * 3
        return _HEAD_BYTES + values * (_FLOAT_BYTES if binary else _JSON_BYTES_PER_VALUE)

    def metadata(self) -> dict[str, Any]:
        """Return the model metadata of the protocol; our own facts are in `parameters`."""
        model = self.detector.model
        width, height = self.detector.network_size
        return {
            "name": model.name,
            "versions": [model.version],
            "platform": f"darknet_{self.detector.engine.name}",
            "inputs": [
                {"name": protocol.INPUT_NAME, "datatype": "UINT8", "shape": [-1, height, width, 3]}
            ],
            "outputs": [
                {"name": protocol.DETECTIONS, "datatype": "FP32", "shape": [-1, 6]},
                {"name": protocol.COUNTS, "datatype": "INT64", "shape": [-1]},
            ],
            "parameters": {
                "digest": model.digest,
                "labels": list(model.labels),
                "threshold": model.threshold,
                "iou": model.iou,
                "engine": self.detector.engine.name,
                "precision": self.detector.engine.precision,
                "device": self.detector.engine.device,
            },
        }


def build_router(inference: Inference, readiness: Readiness, lanes: list[Lane]) -> APIRouter:
    """Return the routes under /v2."""
    router = APIRouter(prefix="/v2", tags=["open inference protocol v2"])
    model = inference.detector.model

    @router.get("", summary="Server metadata")
    async def server_metadata() -> dict[str, Any]:
        return {
            "name": "elastic-yolo",
            "version": VERSION,
            "extensions": ["binary_tensor_data"],
            # Not of the protocol: which models there are, the default first.
            "models": [model.name],
        }

    @router.get("/health/live", summary="Server live")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @router.get("/health/ready", summary="Server ready")
    async def ready() -> dict[str, bool]:
        readiness.require()
        return {"ready": True}

    @router.get("/models/{name}", summary="Model metadata")
    @router.get("/models/{name}/versions/{version}", summary="Model metadata")
    async def model_metadata(name: str, version: str | None = None) -> dict[str, Any]:
        inference.require_model(name, version)
        return inference.metadata()

    @router.get("/models/{name}/ready", summary="Model ready")
    @router.get("/models/{name}/versions/{version}/ready", summary="Model ready")
    async def model_ready(name: str, version: str | None = None) -> dict[str, Any]:
        inference.require_model(name, version)
        readiness.require()
        return {"name": name, "ready": True}

    @router.get("/models/{name}/golden", summary="A picture and what the model finds in it")
    async def golden(name: str) -> Golden:
        inference.require_model(name, None)
        return inference.golden

    for lane in lanes:
        named = [_path_parameter(name) for name in compile_path(lane.path)[2]]
        router.post(
            lane.path.removeprefix(router.prefix),
            summary="Detect objects in tensors",
            openapi_extra={"parameters": named},
        )(lane.endpoint)

    return router


def build_lanes(inference: Inference) -> list[Lane]:
    """Return the routes that every picture takes."""
    model = inference.detector.model

    async def infer(request: Request) -> Response:
        inference.require_model(request.path_params["name"], request.path_params.get("version"))
        header_length = request.headers.get(protocol.HEADER_LENGTH)
        max_bytes = inference.max_body_bytes(binary=header_length is not None)
        async with inference.bodies.receive(request, max_bytes) as body:
            parsed = await inference.parse(body, header_length)
            found = await inference.find(context_of(request.scope), parsed)
        answer = InferAnswer(parsed.id, model.name, model.version, model.digest, found)
        content, headers = protocol.format_answer(answer, binary=parsed.binary_outputs)
        return Response(content, headers=headers)

    return [Lane(path, infer) for path in (_INFER, _INFER_VERSION)]


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
