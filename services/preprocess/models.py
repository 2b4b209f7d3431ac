"""What the inference service says about its models, remembered until it changes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from services.common.context import RequestContext
from services.common.errors import RemoteProblem, UnknownModel
from services.common.golden import Golden
from services.common.peers import Peer

# What a name may be; anything else must not become part of a path.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class ModelInfo:
    """What must be known of a model to prepare its input and to name what it finds."""

    name: str
    version: str
    digest: str
    network_size: tuple[int, int]
    """(width, height) in pixels."""
    labels: tuple[str, ...]

    @property
    def path(self) -> str:
        """Where the inference service has it."""
        return f"/v2/models/{self.name}"


class ModelDirectory:
    """Asks the inference service once for each model, and again after `forget`."""

    def __init__(self, inference: Peer) -> None:
        """Ask nothing yet."""
        self._inference = inference
        self._known: dict[str | None, ModelInfo] = {}
        self._goldens: dict[str, Golden] = {}

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

    async def golden(self, context: RequestContext, info: ModelInfo) -> Golden:
        """Return the picture whose answer is known."""
        if info.digest not in self._goldens:
            try:
                response = await self._inference.send(context, "GET", f"{info.path}/golden")
            except RemoteProblem:
                # Another model may stand there by now: ask again what there is.
                self._known.clear()
                raise
            self._goldens = {info.digest: self._inference.read_model(Golden, response)}
        return self._goldens[info.digest]

    def forget(self, name: str | None) -> None:
        """Ask again next time: an answer showed that the model has changed."""
        self._known.pop(name, None)

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
            return ModelInfo(
                name=metadata["name"],
                version=metadata["versions"][0],
                digest=metadata["parameters"]["digest"],
                network_size=(int(width), int(height)),
                labels=tuple(metadata["parameters"]["labels"]),
            )
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise self._inference.nonsense() from error
