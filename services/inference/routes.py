"""The routes of the Open Inference Protocol v2, and a further one for the golden picture."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response

from elastic_yolo.detector.boxes import Floats, Image
from services.common.core.golden import Golden
from services.common.core.picture_route import PictureRoute, picture_route
from services.common.core.probes import Readiness
from services.common.picture_inputs import PictureInputs, Preparation
from services.common.queue import WorkQueue
from services.common.request.body import Bodies
from services.common.request.context import (
    BACKGROUND,
    PRIORITY_HEADER,
    RequestContext,
    context_of,
)
from services.inference import protocol
from services.inference.protocol import InferRequest, InferResponse, PictureRequest
from services.inference.scheduler import NetworkInput
from services.inference.versions.custom_metrics import CustomMetrics
from services.inference.versions.descriptions import (
    describe_model,
    describe_server,
    describe_statistics,
    require_version,
)
from services.inference.versions.loaded_version import LoadedVersion
from services.inference.versions.model_config import describe_config
from services.inference.versions.model_metrics import ModelMetrics
from services.inference.versions.models import Models
from services.inference.versions.shadow import ShadowRunner
from services.inference.versions.traffic_split import TrafficSplit

_TAG = "open inference protocol v2"
_INFER = "/v2/models/{name}/infer"
_INFER_VERSION = "/v2/models/{name}/versions/{version}/infer"
# Limit of the JSON in front of the tensors.
_HEAD_BYTES = 64 * 1024
_FLOAT_BYTES = 4
# A pixel value in JSON takes up to three digits and a comma, and some clients add a blank.
_JSON_BYTES_PER_VALUE = 5
# All picture files of a request together: as much as web takes of one by default.
_PICTURES_BYTES = 20_000_000


@dataclass(frozen=True)
class InferEndpoint:
    """Responds to inference requests for all models."""

    models: Models
    metrics: ModelMetrics
    shadows: ShadowRunner
    custom_metrics: CustomMetrics
    bodies: Bodies
    decoding: WorkQueue
    """Decodes requests whose tensors are JSON."""
    inputs: PictureInputs
    max_batch: int

    async def handle_infer(self, request: Request) -> Response:
        """Decode the request, run the network, encode the response.

        Raises ServiceError, and PictureError for a picture file.
        """
        name, wanted = request.path_params["name"], request.path_params.get("version")
        header_length = request.headers.get(protocol.HEADER_LENGTH)
        max_bytes = self._max_body_bytes(
            self.models.current_split(name), binary=header_length is not None
        )
        async with self.bodies.receive_body(request, max_bytes) as body:
            # Read again, after the body: a slow upload keeps no version from leaving.
            sizes = self.models.current_split(name).sizes
            context = context_of(request.scope)
            context.is_background = request.headers.get(PRIORITY_HEADER) == BACKGROUND
            decoded = await self._decode(context, body, header_length, sizes)
            # Picture files have been copied out of it.
            del body
            response = await self.respond(context, name, wanted, decoded)
        content, headers = protocol.encode_response(response, decoded.outputs)
        return Response(content, headers=headers)

    async def respond(
        self,
        context: RequestContext,
        name: str,
        wanted: str | None,
        request: InferRequest | PictureRequest,
    ) -> InferResponse:
        """Respond to a decoded request of any protocol.

        Raises ServiceError, and PictureError for a picture file.
        """
        if isinstance(request, PictureRequest):
            return await self.infer_pictures(context, name, wanted, request)
        return await self.infer(context, name, wanted, request)

    async def infer(
        self, context: RequestContext, name: str, wanted: str | None, request: InferRequest
    ) -> InferResponse:
        """Run the network of a version, `wanted` or by the traffic split. Raises ServiceError."""
        split = self.models.current_split(name)
        if wanted is None:
            version = split.pick_version(context.uid, request)
        else:
            version = require_version(split, wanted)
            version.require_format(request)
        with version.in_use(), version.statistics.count_request(context, len(request.images)):
            pictures = NetworkInput.of(request.images)
            detections = await self._predict(context, split, version, request, pictures)
        context.name_model(version.facts())
        return _respond(request.id, version, detections)

    async def infer_pictures(
        self, context: RequestContext, name: str, wanted: str | None, request: PictureRequest
    ) -> InferResponse:
        """Prepare picture files for a version and run its network, as `infer` does for pixels.

        The version comes first, because each may have its own input format. Boxes are in pixels of
        the upright pictures. Raises PictureError for a file, ServiceError for everything else.
        """
        split = self.models.current_split(name)
        if wanted is None:
            version = split.pick_version_for_files(context.uid)
        else:
            version = require_version(split, wanted)
        count = len(request.pictures)
        with version.in_use(), version.statistics.count_request(context, count):
            # All headers first: one bad file spares the work on the others.
            headers = [self.inputs.read_header(picture) for picture in request.pictures]
            planned = [
                self.inputs.plan(context, picture, header, version.input_format)
                for picture, header in zip(request.pictures, headers, strict=True)
            ]
            pictures = await self._prepare(context, version, planned)
            detections = await self._predict(context, split, version, request, pictures)
        context.name_model(version.facts())
        mapped = [one.place.to_picture(rows) for one, rows in zip(planned, detections, strict=True)]
        return _respond(request.id, version, mapped)

    async def _predict(
        self,
        context: RequestContext,
        split: TrafficSplit,
        version: LoadedVersion,
        request: InferRequest | PictureRequest,
        pictures: NetworkInput,
    ) -> list[Floats]:
        """Return the detections of each picture in network pixels, and have them counted."""
        started = time.perf_counter()
        detections = await version.predict(context, pictures, request.threshold, request.iou)
        seconds = time.perf_counter() - started
        if context.is_background:
            # No user's picture: it would distort what is known of those.
            return detections
        # Next on the event loop: the caller does not wait for it, and the version is still in use.
        asyncio.get_running_loop().call_soon(
            self._record, split, version, request, pictures.images, detections, seconds
        )
        return detections

    async def _prepare(
        self, context: RequestContext, version: LoadedVersion, planned: Sequence[Preparation]
    ) -> NetworkInput:
        """Return the network input of picture files, made now or by the engine's thread."""
        first = planned[0]
        if len(planned) == 1 and version.scheduler.makes_inputs and self.inputs.is_small(first):
            # One change of threads less, and its pixels stay in the cache of the CPU.
            return NetworkInput(1, np.dtype(np.uint8), lambda: first.run()[np.newaxis])
        if len(planned) == 1:
            return NetworkInput.of((await self.inputs.prepare(context, first))[np.newaxis])
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self.inputs.prepare(context, one)) for one in planned]
        except ExceptionGroup as failures:
            # The first one; the group has cancelled the others.
            raise failures.exceptions[0] from None
        # Also in a thread: sixteen pictures have eight megabytes of pixels.
        images: Image = await self.inputs.queue.run_job(
            context, lambda: np.asarray(np.stack([task.result() for task in tasks]), np.uint8)
        )
        return NetworkInput.of(images)

    async def _decode(
        self,
        context: RequestContext,
        body: bytes,
        header: str | None,
        sizes: Sequence[tuple[int, int]],
    ) -> InferRequest | PictureRequest:
        length = protocol.read_header_length(header, body)
        decode = partial(protocol.decode_request, body, length, sizes, self.max_batch)
        if length is not None and length <= _HEAD_BYTES:
            return decode()
        # Tensors as JSON numbers take up to a second, and more memory than their body: not on the
        # event loop, and one after the other.
        return await self.decoding.run_job(context, decode)

    def _record(
        self,
        split: TrafficSplit,
        version: LoadedVersion,
        request: InferRequest | PictureRequest,
        images: Image,
        detections: list[Floats],
        seconds: float,
    ) -> None:
        """Count the prediction, and queue what compares it; takes a fraction of a millisecond."""
        self.metrics.count_prediction(version.name, version.version, len(detections), seconds)
        version.drift.record_prediction(
            images, detections, threshold=request.threshold, iou=request.iou
        )
        if version.pictures is not None:
            version.pictures.offer(images, detections)
        if split.shadow is not None:
            self.shadows.compare_later(split.shadow, version, request, images, detections)
        if version.hook is not None:
            labels = version.detector.model.labels
            self.custom_metrics.queue_hook(
                version.hook, version.name, version.version, labels, detections
            )

    def _max_body_bytes(self, split: TrafficSplit, *, binary: bool) -> int:
        """Return the length of the longest valid body, in bytes."""
        pixels = max(width * height for width, height in split.sizes)
        values = self.max_batch * pixels * 3
        as_pixels = values * (_FLOAT_BYTES if binary else _JSON_BYTES_PER_VALUE)
        # Base64 has four characters for three bytes.
        as_files = _PICTURES_BYTES if binary else _PICTURES_BYTES * 4 // 3
        return _HEAD_BYTES + max(as_pixels, as_files)


def _respond(
    identity: str | None, version: LoadedVersion, detections: list[Floats]
) -> InferResponse:
    return InferResponse(
        identity,
        version.name,
        version.version,
        version.digest,
        version.detector.model.labels,
        detections,
    )


def build_router(endpoint: InferEndpoint, readiness: Readiness, extensions: list[str]) -> APIRouter:
    """Return all other routes under /v2; `extensions` are those of other routes."""
    router = APIRouter(prefix="/v2", tags=[_TAG])
    models = endpoint.models

    @router.get("", summary="Server metadata")
    async def server_metadata() -> dict[str, Any]:
        return describe_server(models, extensions)

    @router.get("/health/live", summary="Server live")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @router.get("/health/ready", summary="Server ready")
    async def ready() -> dict[str, bool]:
        readiness.require()
        return {"ready": True}

    # Before the routes of a model, which would take it for a name.
    @router.get("/models/stats", summary="Statistics of all models")
    async def all_statistics() -> dict[str, Any]:
        return describe_statistics(models, None, None)

    @router.get("/models/{name}", summary="Model metadata")
    @router.get("/models/{name}/versions/{version}", summary="Model metadata")
    async def model_metadata(name: str, version: str | None = None) -> dict[str, Any]:
        return describe_model(models, name, version)

    @router.get("/models/{name}/ready", summary="Model ready")
    @router.get("/models/{name}/versions/{version}/ready", summary="Model ready")
    async def model_ready(name: str, version: str | None = None) -> dict[str, Any]:
        require_version(models.current_split(name), version)
        readiness.require()
        return {"name": name, "ready": True}

    @router.get("/models/{name}/config", summary="Model configuration")
    @router.get("/models/{name}/versions/{version}/config", summary="Model configuration")
    async def model_config(name: str, version: str | None = None) -> dict[str, Any]:
        found = require_version(models.current_split(name), version)
        return describe_config(found, endpoint.max_batch)

    @router.get("/models/{name}/stats", summary="Model statistics")
    @router.get("/models/{name}/versions/{version}/stats", summary="Model statistics")
    async def model_statistics(name: str, version: str | None = None) -> dict[str, Any]:
        return describe_statistics(models, name, version)

    @router.get("/models/{name}/golden", summary="Golden picture and its expected detections")
    async def golden(name: str) -> Golden:
        return models.current_split(name).main.golden

    return router


def build_picture_routes(endpoint: InferEndpoint) -> list[PictureRoute]:
    """Return the routes of inference requests."""
    summary = "Detect objects in pixels or picture files"
    return [
        picture_route(path, endpoint.handle_infer, summary=summary, tag=_TAG, name="infer")
        for path in (_INFER, _INFER_VERSION)
    ]
