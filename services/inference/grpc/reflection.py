"""The standard reflection service, from which grpcurl and others learn methods and messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha._async import ReflectionServicer
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from services.inference.grpc.calls import parse

NAME = reflection.SERVICE_NAME


class Reflection:
    """Describes the services of this process."""

    def __init__(self, services: Sequence[str]) -> None:
        """Take the names of the services."""
        self._servicer = ReflectionServicer([*services, NAME])

    def respond(self, messages: AsyncIterator[bytes]) -> AsyncIterator[ServerReflectionResponse]:
        """Yield a response to each request."""
        responses: AsyncIterator[ServerReflectionResponse] = self._servicer.ServerReflectionInfo(
            _parse_all(messages), None
        )
        return responses


async def _parse_all(messages: AsyncIterator[bytes]) -> AsyncIterator[ServerReflectionRequest]:
    async for message in messages:
        yield parse(ServerReflectionRequest, message)
