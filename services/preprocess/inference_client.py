"""The inference service as a client uses it: model metadata, and pixels in binary tensors.

Source: Triton, `docs/protocol/extension_binary_data.md`.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import orjson

from elastic_yolo.detector.boxes import COLUMNS, Floats, Image, InputFormat
from elastic_yolo.names import NAME, NAME_RULE, RESIZES
from services.common.core.golden import Golden
from services.common.core.model_list import ModelSummary
from services.common.observe.logs import get_logger
from services.common.peer import Peer
from services.common.request.context import RequestContext
from services.common.request.errors import ServiceError, UnknownModel

# Models by each of their names, which callers may write in many ways.
_MAX_CACHED = 64
ENSEMBLE_PREFIX = "ensemble:"
HEADER_LENGTH = "Inference-Header-Content-Length"
# A list of names only explains why there is no model of a name.
_NAMES_FRESH_S = 5.0
_NAMES_TIMEOUT_S = 1.0


@dataclass(frozen=True)
class DetectionRequest:
    """The model and the thresholds for a picture; without `model` the default one."""

    model: str | None = None
    version: str | None = None
    parameters: dict[str, float] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    """By which the table of routes may choose a back end; names in lower case."""

    @property
    def is_for_ensemble(self) -> bool:
        """Whether several models are to process the picture."""
        return self.model is not None and self.model.startswith(ENSEMBLE_PREFIX)


@dataclass(frozen=True)
class ModelInfo:
    """The facts about a model that its input depends on."""

    name: str
    input_format: InputFormat


@dataclass(frozen=True)
class Prediction:
    """The response of the inference service for one picture.

    `rows` is (k, 6) float32 in pixels of the network's input: x1 y1 x2 y2 score class.
    """

    rows: Floats
    labels: dict[int, str]
    """Of the classes in `rows`."""
    model: str
    version: str
    digest: str


class ModelDirectory:
    """Caches the metadata of each model until a response shows that it has changed."""

    def __init__(self, inference: Peer) -> None:
        """Start with an empty cache."""
        self._inference = inference
        self._cached: dict[str | None, ModelInfo] = {}

    async def model_info(self, context: RequestContext, name: str | None) -> ModelInfo:
        """Return the facts about a model; None is the default model.

        Raises UnknownModel, or what `Peer.send` raises.
        """
        return self._cached.get(_require_name(name)) or await self.refresh_model_info(
            context, name, self._inference.with_affinity()
        )

    async def refresh_model_info(
        self, context: RequestContext, name: str | None, inference: Peer
    ) -> ModelInfo:
        """Request the facts about a model again and cache them.

        `inference` has an affinity, so that all facts come from one endpoint. Raises what
        `Peer.send` raises.
        """
        self._cached.pop(name, None)
        known_name = name or await self._default_name(context, inference)
        info = await self._request_info(context, known_name, inference)
        if len(self._cached) >= _MAX_CACHED:
            self._cached.clear()
        self._cached[name] = info
        return info

    async def request_metadata(self, context: RequestContext, name: str | None) -> Any:
        """Return a model's metadata of now, parsed JSON; None is the default model.

        Raises what `Peer.send` raises, and UnknownModel.
        """
        inference = self._inference.with_affinity()
        known_name = _require_name(name) or await self._default_name(context, inference)
        response = await inference.send(context, "GET", model_path(known_name, None))
        return inference.read_json(response)

    async def request_golden(self, context: RequestContext, name: str | None) -> Golden:
        """Return a model's golden picture with its expected detections; None as above."""
        inference = self._inference.with_affinity()
        known_name = name or await self._default_name(context, inference)
        path = f"/v2/models/{known_name}/golden"
        return inference.read_model(Golden, await inference.send(context, "GET", path))

    async def _default_name(self, context: RequestContext, inference: Peer) -> str:
        names = await request_names(context, inference)
        if not names:
            raise inference.invalid_response()
        return names[0]

    async def _request_info(self, context: RequestContext, name: str, inference: Peer) -> ModelInfo:
        path = f"/v2/models/{name}"
        response = await inference.send(context, "GET", path)
        try:
            return parse_model_info(inference.read_json(response))
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise inference.invalid_response() from error


def _require_name(name: str | None) -> str | None:
    # It becomes part of a path, so it may contain nothing else.
    if name is not None and not NAME.fullmatch(name):
        raise UnknownModel(f"no model {name[:80]!r} here: expected {NAME_RULE}")
    return name


async def request_names(context: RequestContext, inference: Peer) -> list[str]:
    """Return the names of all models, loaded or not, the default one first.

    Raises what `Peer.send` raises.
    """
    response = await inference.send(context, "GET", "/v2")
    try:
        return [str(name) for name in inference.read_json(response)["models"]]
    except (KeyError, TypeError) as error:
        raise inference.invalid_response() from error


@dataclass(frozen=True)
class InferenceModel:
    """A model of an inference service, with the metadata that pictures are prepared by."""

    peer: Peer
    info: ModelInfo

    @property
    def name(self) -> str:
        """The model's own name."""
        return self.info.name

    @property
    def input_format(self) -> InputFormat:
        """What it requires of its pictures."""
        return self.info.input_format

    async def predict(
        self, context: RequestContext, image: Image, wanted: DetectionRequest
    ) -> Prediction:
        """Send one image, (height, width, 3) at network size; raises what `Peer.send` raises."""
        path = model_path(self.info.name, wanted.version)
        # With the rule, so that no version of another rule responds.
        parameters = {**wanted.parameters, "resize": self.input_format.resize}
        return await request_prediction(self.peer, context, path, image, parameters)


class InferenceBackend:
    """Our own inference service as a back end; `fixed_name` replaces the names of requests."""

    def __init__(self, peer: Peer, fixed_name: str | None = None) -> None:
        """Know no model yet."""
        self.peer = peer
        self._fixed_name = fixed_name
        self._models = ModelDirectory(peer)
        self._names: list[str] = []
        self._names_at = -math.inf
        self._summaries: dict[str | None, tuple[float, ModelSummary]] = {}

    async def find_model(self, context: RequestContext, name: str | None) -> InferenceModel:
        """Return a model with its cached metadata; raises as `ModelDirectory.model_info` does."""
        info = await self._models.model_info(context, self._fixed_name or name)
        return InferenceModel(self.peer, info)

    async def refresh_model(self, context: RequestContext, name: str | None) -> InferenceModel:
        """Return a model with metadata of now, at the endpoint that it is from."""
        peer = self.peer.with_affinity()
        info = await self._models.refresh_model_info(context, self._fixed_name or name, peer)
        return InferenceModel(peer, info)

    async def list_names(self, context: RequestContext) -> list[str]:
        """Return the names of its models, at most some seconds old, or the last known ones."""
        if self._names_at < time.monotonic() - _NAMES_FRESH_S:
            try:
                async with asyncio.timeout(_NAMES_TIMEOUT_S):
                    at_once = replace(context, may_be_held=False)
                    self._names = await request_names(at_once, self.peer)
            except (ServiceError, TimeoutError):
                # What it had before is the best guess. A flood of wrong names asks no more often.
                get_logger().debug("models not listed", peer=self.peer.name)
            self._names_at = time.monotonic()
        return self._names

    async def summarise(self, context: RequestContext, name: str | None) -> ModelSummary:
        """Return what callers may know of a model, as it was some seconds ago at most.

        Raises as `find_model` does.
        """
        asked_at, known = self._summaries.get(name, (-math.inf, None))
        if known is None or asked_at < time.monotonic() - _NAMES_FRESH_S:
            known = await self._request_summary(context, name)
            if len(self._summaries) >= _MAX_CACHED:
                self._summaries.clear()
            self._summaries[name] = time.monotonic(), known
        return known

    async def request_golden(self, context: RequestContext, name: str | None) -> Golden:
        """Return a model's golden picture; raises what `Peer.send` raises."""
        return await self._models.request_golden(context, self._fixed_name or name)

    async def _request_summary(self, context: RequestContext, name: str | None) -> ModelSummary:
        wanted = self._fixed_name or name
        metadata = await self._models.request_metadata(context, wanted)
        try:
            facts = metadata["parameters"]
            return ModelSummary(
                name=name or str(metadata["name"]),
                version=str(metadata["versions"][0]),
                threshold=float(facts["threshold"]),
                labels=len(facts["labels"]),
            )
        except (LookupError, TypeError, ValueError) as error:
            raise self.peer.invalid_response() from error


def model_path(name: str, version: str | None) -> str:
    """Return the path of a model by the Open Inference Protocol, or of one version of it."""
    return f"/v2/models/{name}" + ("" if version is None else f"/versions/{version}")


def parse_model_info(metadata: Any) -> ModelInfo:
    """Return the facts in a model's metadata, the JSON of `GET /v2/models/{name}`.

    Raises AttributeError, LookupError, TypeError or ValueError for other JSON.
    """
    _, height, width, _ = metadata["inputs"][0]["shape"]
    # An older inference service states no rule: it has letterboxed models only.
    stated = metadata.get("parameters", {}).get("resize", "letterbox")
    resize = RESIZES[RESIZES.index(stated)]
    return ModelInfo(str(metadata["name"]), InputFormat((int(width), int(height)), resize))


async def request_prediction(
    inference: Peer,
    context: RequestContext,
    path: str,
    image: Image,
    parameters: dict[str, Any],
) -> Prediction:
    """Send one image, (height, width, 3) at network size, to the model at `path`.

    The pixels are sent without copying. Raises what `Peer.send` raises.
    """
    head = orjson.dumps(_request_head(image, parameters))
    response = await inference.send(
        context,
        "POST",
        f"{path}/infer",
        content=[head, image.data.cast("B")],
        headers={"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(head))},
    )
    try:
        length = int(response.headers[HEADER_LENGTH.lower()])
        described = orjson.loads(response.content[:length])
        count = described["outputs"][0]["shape"][0]
        rows = np.frombuffer(response.content, "<f4", count * COLUMNS, offset=length)
        facts = described["parameters"]
        return Prediction(
            rows=rows.reshape(count, COLUMNS),
            labels={int(number): label for number, label in facts["labels"].items()},
            model=described["model_name"],
            version=described["model_version"],
            digest=facts["digest"],
        )
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise inference.invalid_response() from error


def _request_head(image: Image, parameters: dict[str, Any]) -> dict[str, Any]:
    return {
        "inputs": [
            {
                "name": "images",
                "datatype": "UINT8",
                "shape": [1, *image.shape],
                "parameters": {"binary_data_size": image.nbytes},
            }
        ],
        "outputs": [{"name": "detections", "parameters": {"binary_data": True}}],
        "parameters": parameters,
    }
