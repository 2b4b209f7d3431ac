"""What the inference service says about its models, remembered until it changes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from services.common.context import RequestContext
from services.common.errors import UnknownModel
from services.common.golden import Golden
from services.common.peers import Peer

# What a name may be; anything else must not become part of a path.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class ModelInfo:
    """What must be known of a model to prepare its input."""

    name: str
    network_size: tuple[int, int]
    """(width, height) in pixels."""


class ModelDirectory:
    """Asks the inference service once for each model, and again after `forget`."""

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
        if name not in self._known:
            info = await self._ask(context, name or await self._default_name(context))
            self._known[name] = info
        return self._known[name]

    def forget(self, name: str | None) -> None:
        """Ask again next time: an answer showed that the model has changed."""
        self._known.pop(name, None)

    async def golden(self, context: RequestContext) -> Golden:
        """Return the picture whose answer is known, and which version of which model knows it."""
        name = await self._default_name(context)
        response = await self._inference.send(context, "GET", f"/v2/models/{name}/golden")
        return self._inference.read_model(Golden, response)

    async def _default_name(self, context: RequestContext) -> str:
        response = await self._inference.send(context, "GET", "/v2")
        try:
            return str(self._inference.read_json(response)["models"][0])
        except (KeyError, IndexError, TypeError) as error:
            raise self._inference.nonsense() from error

    async def _ask(self, context: RequestContext, name: str) -> ModelInfo:
        response = await self._inference.send(context, "GET", f"/v2/models/{name}")
        metadata = self._inference.read_json(response)
        try:
            _, height, width, _ = metadata["inputs"][0]["shape"]
            return ModelInfo(str(metadata["name"]), (int(width), int(height)))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise self._inference.nonsense() from error
