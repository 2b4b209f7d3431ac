"""What the inference service says about its models, remembered until it changes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from services.common.core.golden import Golden
from services.common.peer import Peer
from services.common.request.context import RequestContext
from services.common.request.errors import UnknownModel

# What a name may be; anything else must not become part of a path.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class ModelInfo:
    """What must be known of a model to prepare its input."""

    name: str
    network_size: tuple[int, int]
    """(width, height) in pixels."""


class ModelDirectory:
    """Asks the inference service once for each model, and again where it has changed."""

    def __init__(self, inference: Peer) -> None:
        """Ask nothing yet."""
        self._inference = inference
        self._known: dict[str | None, ModelInfo] = {}

    async def get(self, context: RequestContext, name: str | None) -> ModelInfo:
        """Return the facts about a model, or about the default one where `name` is None.

        Raises UnknownModel, or what the inference service answered.
        """
        if name is not None and not _NAME.fullmatch(name):
            raise UnknownModel(f"no model {name[:80]!r} here")
        return self._known.get(name) or await self.ask_again(
            context, name, self._inference.with_affinity()
        )

    async def ask_again(
        self, context: RequestContext, name: str | None, inference: Peer
    ) -> ModelInfo:
        """Return what a process says now: an answer showed that the model has changed.

        `inference` has an affinity, so that everything comes from the same endpoint.
        Raises what `get` raises.
        """
        self._known.pop(name, None)
        asked = name or await self._default_name(context, inference)
        info = self._known[name] = await self._ask(context, asked, inference)
        return info

    async def golden(self, context: RequestContext) -> Golden:
        """Return the picture whose answer is known, and which version of which model knows it."""
        inference = self._inference.with_affinity()
        name = await self._default_name(context, inference)
        path = f"/v2/models/{name}/golden"
        return inference.read_model(Golden, await inference.send(context, "GET", path))

    async def _default_name(self, context: RequestContext, inference: Peer) -> str:
        response = await inference.send(context, "GET", "/v2")
        try:
            return str(inference.read_json(response)["models"][0])
        except (KeyError, IndexError, TypeError) as error:
            raise inference.invalid_response() from error

    async def _ask(self, context: RequestContext, name: str, inference: Peer) -> ModelInfo:
        path = f"/v2/models/{name}"
        response = await inference.send(context, "GET", path)
        metadata = inference.read_json(response)
        try:
            _, height, width, _ = metadata["inputs"][0]["shape"]
            return ModelInfo(str(metadata["name"]), (int(width), int(height)))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise inference.invalid_response() from error
