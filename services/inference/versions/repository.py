"""The protocol's model repository extension: list, load and unload, for who has the token.

Source: Triton, `docs/protocol/extension_model_repository.md`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from pydantic import BaseModel, ValidationError

from services.common.queue import finish_in_time
from services.common.request.body import Bodies
from services.common.request.context import context_of
from services.common.request.errors import MalformedRequest, ModelUnusable, ParameterOutOfRange
from services.inference.versions.models import Models
from services.inference.versions.served import ServedModel

PREFIX = "/v2/repository"
_MAX_BODY_BYTES = 64 * 1024


class IndexQuery(BaseModel):
    """What the index may be asked for."""

    ready: bool = False
    """Whether only what answers requests is wanted."""


class LoadQuery(BaseModel):
    """What comes with a request to load or unload; nothing of it is supported."""

    parameters: dict[str, Any] = {}


Q = TypeVar("Q", bound=BaseModel)


def build_repository(models: Models, bodies: Bodies) -> APIRouter:
    """Return the routes under PREFIX; nobody is to reach them without the token."""
    router = APIRouter(prefix=PREFIX, tags=["model repository"])

    @router.post("/index", summary="All models, loaded or not", openapi_extra=_takes(IndexQuery))
    async def index(request: Request) -> list[dict[str, str]]:
        query = await _read(IndexQuery, request, bodies)
        rows = [row for model in models.all for row in _describe(model)]
        return [row for row in rows if row["state"] == "READY" or not query.ready]

    @router.post(
        "/models/{name}/load",
        summary="Load a model, or look for another version of it",
        openapi_extra=_takes(LoadQuery),
    )
    async def load(name: str, request: Request) -> dict[str, str]:
        model = _find(models, name, await _read(LoadQuery, request, bodies))
        await _in_time(model.load(), request)
        for channel, refusal in model.refusals.items():
            raise ModelUnusable(f"{name}@{channel}: {refusal}")
        return model.lineup.main.facts()

    @router.post(
        "/models/{name}/unload",
        summary="Answer no more requests for a model",
        openapi_extra=_takes(LoadQuery),
    )
    async def unload(name: str, request: Request) -> dict[str, str]:
        model = _find(models, name, await _read(LoadQuery, request, bodies))
        await _in_time(model.unload(), request)
        return {"name": name}

    return router


def _takes(kind: type[BaseModel]) -> dict[str, Any]:
    """Return what the API's description says of a body that we read ourselves."""
    content = {"application/json": {"schema": kind.model_json_schema()}}
    return {"requestBody": {"content": content}}


async def _read(kind: type[Q], request: Request, bodies: Bodies) -> Q:
    async with bodies.receive_body(request, _MAX_BODY_BYTES) as body:
        try:
            return kind.model_validate_json(body or b"{}")
        except ValidationError as error:
            wrong = error.errors()[0]
            where = ".".join(str(part) for part in wrong["loc"])
            raise MalformedRequest(f"{where or 'body'}: {wrong['msg']}") from None


async def _in_time(work: Coroutine[Any, Any, None], request: Request) -> None:
    """Wait for it as long as the caller does; it goes on to its end without him."""
    await finish_in_time(asyncio.ensure_future(work), context_of(request.scope))


def _find(models: Models, name: str, query: LoadQuery) -> ServedModel:
    if query.parameters:
        raise ParameterOutOfRange("parameters: a model is what its files say, and nothing else")
    return models.get(name)


def _describe(model: ServedModel) -> list[dict[str, str]]:
    """Return a row for each version, and one for each channel with a version that is not taken."""
    rows = [
        {"name": model.name, "version": version.version, "state": "READY", "reason": ""}
        for version in (model.lineup.loaded if model.is_loaded else [])
    ]
    refused = [
        {"name": model.name, "version": "", "state": "UNAVAILABLE", "reason": f"{channel}: {why}"}
        for channel, why in model.refusals.items()
    ]
    if not rows and not refused:
        refused = [
            {"name": model.name, "version": "", "state": "UNAVAILABLE", "reason": "unloaded"}
        ]
    return rows + refused
