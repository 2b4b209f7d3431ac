"""The protocol's model repository extension: list, load and unload, for who has the token.

Source: Triton, `docs/protocol/extension_model_repository.md`.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from services.common.errors import ModelUnusable, ParameterOutOfRange
from services.inference.models import Models
from services.inference.served import ServedModel

PREFIX = "/v2/repository"


class IndexQuery(BaseModel):
    """What the index may be asked for."""

    ready: bool = False
    """Only what answers requests."""


class LoadQuery(BaseModel):
    """What comes with a request to load or unload; nothing of it is supported."""

    parameters: dict[str, Any] = {}


def build_repository(models: Models) -> APIRouter:
    """Return the routes under PREFIX; nobody is to reach them without the token."""
    router = APIRouter(prefix=PREFIX, tags=["model repository"])

    @router.post("/index", summary="All models, loaded or not")
    async def index(query: IndexQuery | None = None) -> list[dict[str, str]]:
        rows = [row for model in models.all for row in _describe(model)]
        return [row for row in rows if row["state"] == "READY" or not (query and query.ready)]

    @router.post("/models/{name}/load", summary="Load a model, or look for another version of it")
    async def load(name: str, query: LoadQuery | None = None) -> dict[str, str]:
        model = _find(models, name, query)
        await model.load()
        for channel, refusal in model.refusals.items():
            raise ModelUnusable(f"{name}@{channel}: {refusal}")
        return model.lineup.main.facts()

    @router.post("/models/{name}/unload", summary="Answer no more requests for a model")
    async def unload(name: str, query: LoadQuery | None = None) -> dict[str, str]:
        model = _find(models, name, query)
        await model.unload()
        return {"name": name}

    return router


def _find(models: Models, name: str, query: LoadQuery | None) -> ServedModel:
    if query is not None and query.parameters:
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
