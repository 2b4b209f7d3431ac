"""The routes of the Open Inference Protocol v2, and one of our own for the golden picture."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response

from elastic_yolo import __version__
from services.common.core.golden import Golden
from services.common.core.picture_route import PictureRoute, picture_route
from services.common.core.probes import Readiness
from services.common.request.body import Bodies
from services.common.request.context import context_of
from services.common.request.errors import UnknownModel
from services.inference import protocol
from services.inference.protocol import InferAnswer, InferRequest
from services.inference.versions.custom_metrics import CustomMetrics
from services.inference.versions.lineup import Lineup
from services.inference.versions.model_metrics import ModelMetrics
from services.inference.versions.models import Models
from services.inference.versions.shadow import Shadows
from services.inference.versions.version import LoadedVersion

_TAG = "open inference protocol v2"
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

    models: Models
    metrics: ModelMetrics
    shadows: Shadows
    custom: CustomMetrics
    bodies: Bodies
    max_batch: int

    async def infer(self, request: Request) -> tuple[InferAnswer, bool]:
        """Answer a request, and say whether in binary. Raises ServiceError."""
        model = self.models.get(request.path_params["name"])
        wanted = request.path_params.get("version")
        header_length = request.headers.get(protocol.HEADER_LENGTH)
        max_bytes = self._max_body_bytes(model.lineup, binary=header_length is not None)
        async with self.bodies.receive_body(request, max_bytes) as body:
            # Only now: an upload that takes its time keeps no version from leaving.
            parsed = await self._parse(body, header_length, model.lineup.sizes)
            context, lineup = context_of(request.scope), model.lineup
            if wanted is None:
                version = lineup.choose(context.uid, parsed.size)
            else:
                version = find_version(lineup, wanted)
                version.require_size(parsed.size)
            with version.in_use():
                started = time.perf_counter()
                found = await version.find(context, parsed)
                seconds = time.perf_counter() - started
                self.metrics.count_answer(version.name, version.version, len(found), seconds)
                version.drift.observe(parsed, found)
                self.shadows.compare(lineup, version, parsed, found)
        labels = version.detector.model.labels
        if version.hook is not None:
            self.custom.observe(version.hook, version.name, version.version, labels, found)
        facts = (version.name, version.version, version.digest)
        context.name_model(version.facts())
        return InferAnswer(parsed.id, *facts, labels, found), parsed.binary_outputs

    async def _parse(
        self, body: bytes, header_length: str | None, sizes: Sequence[tuple[int, int]]
    ) -> InferRequest:
        if header_length is not None:
            return protocol.parse_request(body, header_length, sizes, self.max_batch)
        # Tensors as JSON numbers take up to a second: not on the event loop.
        return await asyncio.to_thread(protocol.parse_request, body, None, sizes, self.max_batch)

    def _max_body_bytes(self, lineup: Lineup, *, binary: bool) -> int:
        """Return how long a request's body can reasonably be."""
        pixels = max(width * height for width, height in lineup.sizes)
        values = self.max_batch * pixels * 3
        return _HEAD_BYTES + values * (_FLOAT_BYTES if binary else _JSON_BYTES_PER_VALUE)


def find_version(lineup: Lineup, version: str | None) -> LoadedVersion:
    """Return the version that is asked for, or the main one; raises UnknownModel."""
    found = lineup.main if version is None else lineup.named(version)
    if found is None:
        asked, there = str(version)[:80], ", ".join(repr(one.version) for one in lineup.versions)
        raise UnknownModel(f"no version {asked!r} of {lineup.main.name!r} here; there is {there}")
    return found


def build_router(inference: Inference, readiness: Readiness, extensions: list[str]) -> APIRouter:
    """Return all other routes under /v2; `extensions` are announced beside the binary one."""
    router = APIRouter(prefix="/v2", tags=[_TAG])
    models = inference.models

    @router.get("", summary="Server metadata")
    async def server_metadata() -> dict[str, Any]:
        return {
            "name": "elastic-yolo",
            "version": __version__,
            "extensions": ["binary_tensor_data", *extensions],
            # Not of the protocol: which models there are, the default first.
            "models": models.names,
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
        model = models.get(name)
        described = find_version(model.lineup, version).metadata()
        return described | {"versions": [one.version for one in model.lineup.versions]}

    @router.get("/models/{name}/ready", summary="Model ready")
    @router.get("/models/{name}/versions/{version}/ready", summary="Model ready")
    async def model_ready(name: str, version: str | None = None) -> dict[str, Any]:
        find_version(models.get(name).lineup, version)
        readiness.require()
        return {"name": name, "ready": True}

    @router.get("/models/{name}/golden", summary="A picture and what the model finds in it")
    async def golden(name: str) -> Golden:
        return models.get(name).lineup.main.golden

    return router


def build_picture_routes(inference: Inference) -> list[PictureRoute]:
    """Return the routes that every picture takes."""

    async def infer(request: Request) -> Response:
        answer, binary = await inference.infer(request)
        content, headers = protocol.format_answer(answer, binary=binary)
        return Response(content, headers=headers)

    return [
        picture_route(path, infer, summary="Detect objects in tensors", tag=_TAG)
        for path in (_INFER, _INFER_VERSION)
    ]
