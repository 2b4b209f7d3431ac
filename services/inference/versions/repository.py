"""The model repository of this process: list, load and unload models, whatever the protocol.

Source: Triton, `docs/protocol/extension_model_repository.md`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

from services.common.queue import finish_in_time
from services.common.request.context import RequestContext
from services.common.request.errors import ModelUnusable, ParameterOutOfRange
from services.inference.versions.models import Models
from services.inference.versions.served_model import ServedModel


def list_models(models: Models, *, ready_only: bool) -> list[dict[str, str]]:
    """Return a row for each version, with `name`, `version`, `state` and `reason`."""
    rows = [row for model in models.all for row in _describe(model)]
    return [row for row in rows if row["state"] == "READY" or not ready_only]


async def load_model(
    models: Models, name: str, parameters: Mapping[str, Any] | None, context: RequestContext
) -> dict[str, str]:
    """Load a model, or poll its channels; return the facts of its main version.

    Raises UnknownModel, ParameterOutOfRange for any parameter, ModelUnusable for a version that
    must not serve, and DeadlineExceeded at the deadline, after which the work continues.
    """
    model = _find_model(models, name, parameters)
    await finish_in_time(asyncio.ensure_future(model.load()), context)
    for channel, refusal in model.refusals.items():
        raise ModelUnusable(f"{name}@{channel}: {refusal}")
    return models.current_split(name).main.facts()


async def unload_model(
    models: Models, name: str, parameters: Mapping[str, Any] | None, context: RequestContext
) -> None:
    """Unload a model; raises UnknownModel, ParameterOutOfRange and DeadlineExceeded."""
    # tritonclient always sends it. No model here depends on another one.
    others = {one for one in parameters or () if one != "unload_dependents"}
    model = _find_model(models, name, others)
    await finish_in_time(asyncio.ensure_future(model.unload()), context)


def _find_model(models: Models, name: str, parameters: Collection[str] | None) -> ServedModel:
    if parameters:
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
