"""The standard health service, for load balancers and Kubernetes' grpc probes.

The servicer of grpcio-health-checking keeps a copy of each status, and a watcher that does not read
keeps it from changing. This one asks the process.

Source: grpc/grpc, `doc/health-checking.md`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from grpc_health.v1.health_pb2 import (
    DESCRIPTOR,
    HealthCheckRequest,
    HealthCheckResponse,
    HealthListResponse,
)

from services.common.core.probes import Phase, Readiness
from services.common.request.errors import UnknownModel
from services.inference.grpc.calls import Call, parse

NAME = DESCRIPTOR.services_by_name["Health"].full_name


class Health:
    """Serving while the process is ready: whole, and each of its services."""

    def __init__(self, readiness: Readiness, services: tuple[str, ...]) -> None:
        """Take the names of the services; the empty name stands for all of them."""
        self._readiness = readiness
        self._services = ("", *services)

    async def check(self, _call: Call, message: bytes) -> HealthCheckResponse:
        """Return the status of a service; raises UnknownModel if there is no such service."""
        service = parse(HealthCheckRequest, message).service
        if service not in self._services:
            raise UnknownModel(f"no service {service[:80]!r} here")
        return self._response()

    async def list_all(self, _call: Call, _message: bytes) -> HealthListResponse:
        """Return the statuses of all services."""
        return HealthListResponse(statuses={name: self._response() for name in self._services})

    async def watch(self, messages: AsyncIterator[bytes]) -> AsyncIterator[HealthCheckResponse]:
        """Yield the status of a service and each further one, until the process stops."""
        message = await anext(messages, b"")
        known = parse(HealthCheckRequest, message).service in self._services
        last = None
        while True:
            phase = self._readiness.phase
            response = (
                self._response()
                if known
                else HealthCheckResponse(status=HealthCheckResponse.SERVICE_UNKNOWN)
            )
            if response != last:
                yield response
            if phase is Phase.STOPPING:
                return
            last = response
            await self._readiness.wait_for_end_of(phase)

    def _response(self) -> HealthCheckResponse:
        serves = self._readiness.phase is Phase.SERVING
        return HealthCheckResponse(
            status=HealthCheckResponse.SERVING if serves else HealthCheckResponse.NOT_SERVING
        )
