"""Routes of the protocol's model repository extension: list, load and unload models.

Requests to load and unload must carry REPOSITORY_TOKEN; the index needs no token.

Source: Triton, `docs/protocol/extension_model_repository.md`.
"""

from __future__ import annotations

from typing import Any, TypeVar

from fastapi import APIRouter, Request
from pydantic import BaseModel, ValidationError

from services.common.request.body import Bodies, states_length
from services.common.request.context import context_of
from services.common.request.errors import MalformedRequest
from services.inference.versions.models import Models
from services.inference.versions.repository import list_models, load_model, unload_model

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
        return list_models(models, ready_only=bool(query.ready))

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
        query = await _read_body(LoadQuery, request, bodies)
        return await load_model(models, name, query.parameters, context_of(request.scope))

    @router.post(
        "/{name}/unload",
        summary="Unload a model: it responds to no further requests",
        openapi_extra=_body_schema(LoadQuery),
    )
    async def unload(name: str, request: Request) -> dict[str, str]:
        query = await _read_body(LoadQuery, request, bodies)
        await unload_model(models, name, query.parameters, context_of(request.scope))
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
