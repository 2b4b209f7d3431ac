"""Routes of the protocol's model repository extension: list, load and unload models.

Requests to load and unload must carry REPOSITORY_TOKEN; the index needs no token.

Source: Triton, `docs/protocol/extension_model_repository.md`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from pydantic import BaseModel, ValidationError

from services.common.queue import finish_in_time
from services.common.request.body import Bodies, states_length
from services.common.request.context import context_of
from services.common.request.errors import MalformedRequest, ModelUnusable, ParameterOutOfRange
from services.inference.versions.models import Models
from services.inference.versions.served_model import ServedModel

_REPOSITORY = "/v2/repository"
_TAG = "model repository"
PREFIX = f"{_REPOSITORY}/models"
"""The paths that need a token begin with it."""
_MAX_BODY_BYTES = 64 * 1024


class IndexQuery(BaseModel):
    """Body of a request for the index."""

    ready: bool | None = None
    """Whether to list only versions that respond to requests."""


class LoadQuery(BaseModel):
    """Body of a request to load or unload; no parameters are supported."""

    parameters: dict[str, Any] | None = None


Q = TypeVar("Q", bound=BaseModel)


def build_index_router(models: Models, bodies: Bodies) -> APIRouter:
    """Return the route of the index."""
    router = APIRouter(prefix=_REPOSITORY, tags=[_TAG])

    @router.post(
        "/index", summary="All models, loaded or not", openapi_extra=_body_schema(IndexQuery)
    )
    async def index(request: Request) -> list[dict[str, str]]:
        query = await _read_body(IndexQuery, request, bodies)
        rows = [row for model in models.all for row in _describe(model)]
        return [row for row in rows if row["state"] == "READY" or not query.ready]

    return router


def build_load_router(models: Models, bodies: Bodies) -> APIRouter:
    """Return the routes under PREFIX; the caller must put a token check in front of them."""
    router = APIRouter(prefix=PREFIX, tags=[_TAG])

    @router.post(
        "/{name}/load",
        summary="Load a model, or poll its channels for another version",
        openapi_extra=_body_schema(LoadQuery),
    )
    async def load(name: str, request: Request) -> dict[str, str]:
        model = _accept_query(models, name, await _read_body(LoadQuery, request, bodies))
        await _finish_in_time(model.load(), request)
        for channel, refusal in model.refusals.items():
            raise ModelUnusable(f"{name}@{channel}: {refusal}")
        return models.current_split(name).main.facts()

    @router.post(
        "/{name}/unload",
        summary="Unload a model: it responds to no further requests",
        openapi_extra=_body_schema(LoadQuery),
    )
    async def unload(name: str, request: Request) -> dict[str, str]:
        model = _accept_query(models, name, await _read_body(LoadQuery, request, bodies))
        await _finish_in_time(model.unload(), request)
        return {"name": name}

    return router


def _body_schema(kind: type[BaseModel]) -> dict[str, Any]:
    """Return the OpenAPI schema of a body that the route reads without FastAPI."""
    content = {"application/json": {"schema": kind.model_json_schema()}}
    return {"requestBody": {"content": content}}


async def _read_body(kind: type[Q], request: Request, bodies: Bodies) -> Q:
    if not states_length(request):
        return kind()
    async with bodies.receive_body(request, _MAX_BODY_BYTES) as body:
        try:
            return kind.model_validate_json(body or b"{}")
        except ValidationError as error:
            wrong = error.errors()[0]
            where = ".".join(str(part) for part in wrong["loc"])
            raise MalformedRequest(f"{where or 'body'}: {wrong['msg']}") from None


async def _finish_in_time(work: Coroutine[Any, Any, None], request: Request) -> None:
    """Wait for the work until the deadline; it continues to its end after that."""
    await finish_in_time(asyncio.ensure_future(work), context_of(request.scope))


def _accept_query(models: Models, name: str, query: LoadQuery) -> ServedModel:
    if query.parameters:
        raise ParameterOutOfRange("parameters: not supported; a model is defined by its files")
    return models.find_model(name)


def _describe(model: ServedModel) -> list[dict[str, str]]:
    """Return a row for each loaded version, and one for each channel with a refused version.

    Of a refusal it says only of which kind it is: the reason may name paths, and is in the log and
    in the response to a load.
    """
    rows = [
        {"name": model.name, "version": version.version, "state": "READY", "reason": ""}
        for version in (model.split.loaded if model.split else [])
    ]
    refused = [
        {
            "name": model.name,
            "version": "",
            "state": "UNAVAILABLE",
            "reason": f"{channel}: {why.reason}",
        }
        for channel, why in model.refusals.items()
    ]
    if not rows and not refused:
        refused = [
            {"name": model.name, "version": "", "state": "UNAVAILABLE", "reason": "unloaded"}
        ]
    return rows + refused
