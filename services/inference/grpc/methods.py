"""The methods of inference.GRPCInferenceService; those of HTTP do the same.

Source: kserve/open-inference-protocol, `specification/protocol/inference_grpc.md`; Triton's
extensions in its `docs/protocol`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from pydantic import SecretStr

from services.common.core.access_token import require_bearer
from services.common.core.probes import Phase, Readiness
from services.inference.grpc import messages
from services.inference.grpc import open_inference_pb2 as pb
from services.inference.grpc.calls import Answer, Call, parse
from services.inference.protocol import InferRequest, PictureRequest, read_request
from services.inference.routes import InferEndpoint
from services.inference.versions.descriptions import (
    describe_model,
    describe_server,
    describe_statistics,
    require_version,
)
from services.inference.versions.model_config import describe_config
from services.inference.versions.repository import list_models, load_model, unload_model

NAME = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name

M = TypeVar("M", bound=Message)


@dataclass(frozen=True)
class Methods:
    """Answers the calls for all models."""

    endpoint: InferEndpoint
    readiness: Readiness
    extensions: list[str]
    """As in the server metadata."""
    repository_token: SecretStr | None
    """None if models cannot be loaded and unloaded."""

    def answers(self) -> dict[str, Answer]:
        """Return the methods by their names in the .proto file."""
        methods: dict[str, Answer] = {
            "ServerLive": self.server_live,
            "ServerReady": self.server_ready,
            "ModelReady": self.model_ready,
            "ServerMetadata": self.server_metadata,
            "ModelMetadata": self.model_metadata,
            "ModelInfer": self.model_infer,
            "ModelConfig": self.model_config,
            "ModelStatistics": self.model_statistics,
            "RepositoryIndex": self.repository_index,
        }
        if self.repository_token is not None:
            methods["RepositoryModelLoad"] = self.repository_model_load
            methods["RepositoryModelUnload"] = self.repository_model_unload
        return methods

    async def model_infer(self, call: Call, message: bytes) -> Message:
        """Decode the request, run the network, encode the response.

        Raises ServiceError, and PictureError for a picture file.
        """
        name, wanted, request = await self._decode(call, message)
        # Its tensor has been copied out of it.
        del message
        response = await self.endpoint.respond(call.context, name, wanted, request)
        return messages.from_response(response, request.outputs)

    async def server_live(self, _call: Call, _message: bytes) -> Message:
        """Return that the process lives."""
        return pb.ServerLiveResponse(live=True)

    async def server_ready(self, _call: Call, _message: bytes) -> Message:
        """Return whether the process takes new requests."""
        return pb.ServerReadyResponse(ready=self._is_ready)

    async def model_ready(self, _call: Call, message: bytes) -> Message:
        """Return whether a version responds to requests; raises UnknownModel."""
        query = parse(pb.ModelReadyRequest, message)
        require_version(self._models.current_split(query.name), query.version or None)
        return pb.ModelReadyResponse(ready=self._is_ready)

    async def server_metadata(self, _call: Call, _message: bytes) -> Message:
        """Return name, version and extensions."""
        found = describe_server(self._models, self.extensions)
        return _from_json(pb.ServerMetadataResponse, found)

    async def model_metadata(self, _call: Call, message: bytes) -> Message:
        """Return the metadata of a version; raises UnknownModel."""
        query = parse(pb.ModelMetadataRequest, message)
        found = describe_model(self._models, query.name, query.version or None)
        return _from_json(pb.ModelMetadataResponse, found)

    async def model_config(self, _call: Call, message: bytes) -> Message:
        """Return the configuration of a version; raises UnknownModel."""
        query = parse(pb.ModelConfigRequest, message)
        split = self._models.current_split(query.name)
        found = require_version(split, query.version or None)
        config = describe_config(found, self.endpoint.max_batch)
        return _from_json(pb.ModelConfigResponse, {"config": config})

    async def model_statistics(self, _call: Call, message: bytes) -> Message:
        """Return the statistics of a version, a model or all models; raises UnknownModel."""
        query = parse(pb.ModelStatisticsRequest, message)
        found = describe_statistics(self._models, query.name or None, query.version or None)
        return _from_json(pb.ModelStatisticsResponse, found)

    async def repository_index(self, _call: Call, message: bytes) -> Message:
        """Return all models, loaded or not."""
        query = parse(pb.RepositoryIndexRequest, message)
        rows = list_models(self._models, ready_only=query.ready)
        return _from_json(pb.RepositoryIndexResponse, {"models": rows})

    async def repository_model_load(self, call: Call, message: bytes) -> Message:
        """Load a model, or poll its channels; raises Unauthorized and what `load_model` raises."""
        self._require_token(call)
        query = parse(pb.RepositoryModelLoadRequest, message)
        await load_model(self._models, query.model_name, query.parameters, call.context)
        return pb.RepositoryModelLoadResponse()

    async def repository_model_unload(self, call: Call, message: bytes) -> Message:
        """Unload a model; raises Unauthorized and what `unload_model` raises."""
        self._require_token(call)
        query = parse(pb.RepositoryModelUnloadRequest, message)
        await unload_model(self._models, query.model_name, query.parameters, call.context)
        return pb.RepositoryModelUnloadResponse()

    @property
    def _models(self) -> Any:
        return self.endpoint.models

    @property
    def _is_ready(self) -> bool:
        return self.readiness.phase is Phase.SERVING

    def _require_token(self, call: Call) -> None:
        if self.repository_token is not None:
            sent = call.metadata.get("authorization", "")
            require_bearer(sent, self.repository_token, "the repository")

    async def _decode(
        self, call: Call, message: bytes
    ) -> tuple[str, str | None, InferRequest | PictureRequest]:
        """Return the name of the model, of its version if one is wanted, and the request."""
        decode = partial(self._read, message)
        if messages.is_quick_to_parse(message):
            return decode()
        # Not on the event loop, and one after the other, as JSON numbers over HTTP.
        return await self.endpoint.decoding.run_job(call.context, decode)

    def _read(self, message: bytes) -> tuple[str, str | None, InferRequest | PictureRequest]:
        query = parse(pb.ModelInferRequest, message)
        sizes = self._models.current_split(query.model_name).sizes
        request = read_request(*messages.to_json(query), sizes, self.endpoint.max_batch)
        return query.model_name, query.model_version or None, request


def _from_json(kind: type[M], found: dict[str, Any]) -> M:
    """Return a message of the members that it knows."""
    return ParseDict(found, kind(), ignore_unknown_fields=True)
