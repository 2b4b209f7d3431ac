"""Third-party servers as back ends: Triton, OpenVINO Model Server, MLServer.

They speak the Open Inference Protocol v2 and return raw heads, which are decoded here, or
detections. What the entry of the table does not say is read from the server's own metadata.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elastic_yolo.detector.boxes import COLUMNS, SCORE, Floats, Image, InputFormat
from elastic_yolo.detector.model import OutputDecoder
from services.common.core.model_list import ModelSummary
from services.common.observe.log_limit import LogLimit
from services.common.observe.logs import get_logger
from services.common.peer import Peer
from services.common.peer.exchange import Response
from services.common.queue import WorkQueue
from services.common.request.context import RequestContext
from services.common.request.errors import (
    ParameterOutOfRange,
    RemoteProblem,
    ServiceError,
    Unavailable,
)
from services.preprocess.inference_client import DetectionRequest, Prediction, model_path
from services.preprocess.routing.table import BackendConfig
from services.preprocess.routing.tensors import (
    InferResult,
    InputTensor,
    decode_result,
    encode_request,
    read_input,
)

_BINARY = "binary_tensor_data"
_MOST_LOGGED = 300
# Problems that are the server's, not the picture's, and keep their status.
_PASSED_ON = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE,
              HTTPStatus.GATEWAY_TIMEOUT)  # fmt: skip
_LABELLED = (AttributeError, LookupError, TypeError, ValueError)
# No box of a network reaches so far from its input, in pixels.
_FARTHEST = 1e6


@dataclass(frozen=True)
class Served:
    """What a server says of the model."""

    tensor: InputTensor
    binary: bool
    """Whether the server takes the binary tensor extension."""
    version: str | None
    """The latest one, if the server lists any."""


class ThirdPartyBackend:
    """One network on a third-party server."""

    def __init__(
        self, peer: Peer, config: BackendConfig, decoder: OutputDecoder, work: WorkQueue
    ) -> None:
        """Know nothing of the server yet; tensors are converted in the threads of `work`."""
        self.peer = peer
        self.decoder = decoder
        self.config = config
        self.work = work
        self.labels = dict(enumerate(decoder.labels))
        self.outputs: Sequence[str] = config.heads or (
            config.detections or "",
            config.counts or "",
        )
        self._log_limit = LogLimit()
        self._served: Served | None = None

    @property
    def own_name(self) -> str:
        """The model's name on the server, or that of its files."""
        return self.config.model or self.decoder.name

    def name_there(self, name: str) -> str:
        """Return the name by which the server knows the model."""
        return self.config.model or name

    async def find_model(self, context: RequestContext, name: str | None) -> ThirdPartyModel:
        """Return the model, by the name that a route gave it."""
        if self._served is None:
            return await self.refresh_model(context, name)
        return ThirdPartyModel(self, self.peer, name or self.own_name, self._served)

    async def refresh_model(self, context: RequestContext, name: str | None) -> ThirdPartyModel:
        """Return the model with what the server says of it now; raises ServiceError."""
        self._served = None
        peer = self.peer.with_affinity()
        name = name or self.own_name
        self._served = await self._request_metadata(context, peer, self.name_there(name))
        return ThirdPartyModel(self, peer, name, self._served, is_fresh=True)

    async def list_names(self, context: RequestContext) -> Sequence[str]:  # noqa: ARG002  # as others
        """Return its own name; routes may give it further ones."""
        return [self.own_name]

    async def summarise(self, context: RequestContext, name: str | None) -> ModelSummary:  # noqa: ARG002  # as others
        """Return what callers may know of the model, which its files say."""
        decoder = self.decoder
        version = (self._served and self._served.version) or decoder.version
        return ModelSummary(
            name=name or self.own_name,
            version=version,
            threshold=decoder.threshold,
            labels=len(decoder.labels),
        )

    async def _request_metadata(self, context: RequestContext, peer: Peer, name: str) -> Served:
        extensions = await self._request_extensions(context, peer)
        try:
            response = await peer.send(context, "GET", f"/v2/models/{name}")
        except RemoteProblem as problem:
            if problem.is_rejection:
                # Triton rejects the name of a model that it does not have, with 400.
                raise RemoteProblem(
                    HTTPStatus.NOT_FOUND, HTTPStatus.NOT_FOUND.phrase, str(problem), None
                ) from problem
            raise self.explain(problem) from problem
        metadata = peer.read_json(response)
        try:
            return read_served(
                metadata, self.config, self.outputs, self.decoder, binary=_BINARY in extensions
            )
        except _LABELLED as error:
            self.log("the model does not fit the table of routes", why=str(error))
            raise Unavailable(
                f"the {peer.name} service has a model that does not fit the table of routes"
            ) from error

    async def _request_extensions(self, context: RequestContext, peer: Peer) -> Sequence[str]:
        try:
            response = await peer.send(context, "GET", "/v2")
        except RemoteProblem as problem:
            if problem.status != HTTPStatus.NOT_FOUND:
                raise self.explain(problem) from problem
            # A server that says nothing of itself has no extension.
            return ()
        server = peer.read_json(response)
        extensions = server.get("extensions") if isinstance(server, dict) else None
        return extensions if isinstance(extensions, list) else ()

    def explain(self, problem: RemoteProblem) -> ServiceError:
        """Return a server's problem as the caller may see it; the log has what the server said."""
        name = self.peer.name
        self.log("back end refused a request", status=problem.status, why=str(problem))
        if problem.status in _PASSED_ON:
            detail = f"the {name} service cannot take the request now"
            return RemoteProblem(problem.status, problem.title, detail, problem.retry_after)
        return Unavailable(f"the {name} service refused the request")

    def log(self, event: str, **facts: Any) -> None:
        """Log what an operator must know of this back end, a limited number of times."""
        if self._log_limit.passes("backend", self.peer.name, event):
            why = str(facts.pop("why"))[:_MOST_LOGGED]
            get_logger().warning(event, backend=self.peer.name, why=why, **facts)


def read_served(
    metadata: Any,
    config: BackendConfig,
    outputs: Sequence[str],
    decoder: OutputDecoder,
    *,
    binary: bool,
) -> Served:
    """Read the metadata of a model; raises as `read_input` does."""
    tensor = read_input(metadata, config.input, decoder.input_format.size)
    described = {output["name"] for output in metadata.get("outputs") or ()}
    missing = [name for name in outputs if described and name not in described]
    if missing:
        raise ValueError(f"it has no output {missing[0]!r}, but {', '.join(sorted(described))}")
    versions = metadata.get("versions") or [None]
    return Served(tensor, binary, None if versions[-1] is None else str(versions[-1]))


@dataclass(frozen=True)
class ThirdPartyModel:
    """The network of a ThirdPartyBackend, by the name that a route gave it."""

    backend: ThirdPartyBackend
    peer: Peer
    name: str
    served: Served
    is_fresh: bool = False
    """Whether the server has described it just now."""

    @property
    def input_format(self) -> InputFormat:
        """What it requires of its pictures, as its files say."""
        return self.backend.decoder.input_format

    async def predict(
        self, context: RequestContext, image: Image, wanted: DetectionRequest
    ) -> Prediction:
        """Send one image, (height, width, 3) at network size, and decode the response.

        Raises ParameterOutOfRange for an `iou` if the server has applied its own, or what
        `WorkQueue.run_job` and `Peer.send` raise.
        """
        backend, served = self.backend, self.served
        if backend.config.detections and "iou" in wanted.parameters:
            raise ParameterOutOfRange("iou: the server of this model applies a fixed one")
        body, headers = await backend.work.run_job(
            context,
            lambda: encode_request(
                served.tensor,
                served.tensor.fill(image, backend.config.full_scale),
                backend.outputs,
                binary=served.binary,
            ),
        )
        path = model_path(backend.name_there(self.name), wanted.version)
        started = time.perf_counter()
        try:
            response = await self.peer.send(
                context, "POST", f"{path}/infer", content=body, headers=headers
            )
        except RemoteProblem as problem:
            if problem.is_rejection and not (self.is_fresh and problem.status != 404):
                raise
            raise backend.explain(problem) from problem
        # Such a server says nothing of its own time.
        spent_ms = (time.perf_counter() - started) * 1000
        context.timings.absorb(f"inference;dur={spent_ms:.2f}")
        rows, version = await backend.work.run_job(
            context, lambda: self._decode(context, response, wanted.parameters)
        )
        decoder = backend.decoder
        return Prediction(
            rows=rows,
            labels=backend.labels,
            model=self.name,
            version=version or served.version or decoder.version,
            digest=decoder.digest,
        )

    def _decode(
        self, context: RequestContext, response: Response, parameters: Mapping[str, float]
    ) -> tuple[Floats, str | None]:
        backend = self.backend
        decoder, config = backend.decoder, backend.config
        threshold = parameters.get("threshold", decoder.threshold)
        try:
            result = decode_result(response)
            if config.heads:
                heads = take_heads(result, config.heads, decoder)
                with context.timings.measure("heads"):
                    rows = decoder.decode(heads, threshold, parameters.get("iou", decoder.iou))
            else:
                rows = take_detections(result, config.detections or "", config.counts or "")
                rows = rows[rows[:, SCORE] > threshold]
        except _LABELLED as error:
            raise self.peer.invalid_response() from error
        return rows, result.version


def take_heads(result: InferResult, names: Sequence[str], decoder: OutputDecoder) -> list[Floats]:
    """Return the raw heads of one picture, in the order of the .cfg.

    Each is (anchors * values, rows, columns) float32. Raises LookupError or ValueError.
    """
    return [
        _floats(result.outputs[name]).reshape(
            head.output.channels, head.output.height, head.output.width
        )
        for name, head in zip(names, decoder.network.heads, strict=True)
    ]


def take_detections(result: InferResult, detections: str, counts: str) -> Floats:
    """Return the rows of one picture, (k, 6) float32; raises LookupError, ValueError.

    A server may pad the rows to a fixed number. Rows that are no box of numbers are left out.
    """
    stated = float(result.outputs[counts].ravel()[0])
    rows = _floats(result.outputs[detections]).reshape(-1, COLUMNS)
    if not 0 <= stated <= len(rows):
        raise ValueError(f"{stated:g} detections in {len(rows)} rows")
    rows = rows[: int(stated)]
    near = (np.abs(rows[:, :SCORE]) <= _FARTHEST).all(axis=1)
    in_order = (rows[:, 0:2] <= rows[:, 2:4]).all(axis=1)
    return rows[near & in_order & np.isfinite(rows).all(axis=1)]


def _floats(values: NDArray[Any]) -> Floats:
    return values.astype(np.float32, copy=False)
