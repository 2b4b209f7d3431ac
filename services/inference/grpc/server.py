"""The gRPC server of this process, on the event loop of the HTTP server.

It follows the process: it opens its port before the process is ready, and when the drain delay is
over it refuses new calls and waits for those in progress.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import grpc.aio

from services.common.core.probes import Phase, Readiness
from services.common.core.tls import Tls
from services.common.observe.logs import get_logger
from services.common.observe.telemetry import Metrics
from services.inference.grpc import health, methods, reflection
from services.inference.grpc.calls import Calls
from services.inference.grpc.health import Health
from services.inference.grpc.methods import Methods
from services.inference.grpc.reflection import Reflection
from services.inference.routes import InferEndpoint
from services.inference.settings import InferenceSettings

if TYPE_CHECKING:
    from services.common.observe.tracing import Tracing

# Calls of one connection at a time; a client waits with further ones.
_MAX_STREAMS = 256
# A connection without a call for so long is closed: its client opens another one when needed.
_IDLE_MS = 300_000
# A client that does not answer pings has gone.
_PING_EVERY_MS = 60_000
_PING_TIMEOUT_MS = 20_000
# Until a new connection speaks HTTP/2.
_HANDSHAKE_MS = 5_000


@asynccontextmanager
async def serving_grpc(
    settings: InferenceSettings,
    endpoint: InferEndpoint,
    readiness: Readiness,
    metrics: Metrics,
    extensions: list[str],
    tracing: Tracing | None,
    tls: Tls | None,
    max_connections: int,
) -> AsyncIterator[None]:
    """Serve on GRPC_PORT until the end of the block; raises RuntimeError if it is taken.

    There may be `max_connections` connections, and as many calls at a time.
    """
    calls = Calls(
        metrics=metrics,
        bodies=endpoint.bodies,
        longest_ms=settings.request_timeout_ms,
        max_calls=max_connections,
        tracing=tracing,
    )
    # Calls logs what callers cause, within limits. gRPC would log a traceback for each
    # call that it has ended itself.
    logging.getLogger("grpc").setLevel(logging.CRITICAL)
    server = _build_server(settings.max_held_bytes, max_connections)
    answering = Methods(endpoint, readiness, extensions, settings.repository_token)
    _add_methods(server, answering, calls)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    place = f"{host}:{settings.grpc_port}"
    if tls is None:
        port = server.add_insecure_port(place)
    else:
        port = server.add_secure_port(place, _credentials(tls))
    await server.start()
    get_logger().info("listening for gRPC", address=f"{host}:{port}", port=port)
    stopping = asyncio.create_task(_stop_after_drain(server, readiness, settings.drain_timeout_s))
    try:
        yield
    finally:
        if readiness.phase is not Phase.STOPPING:
            stopping.cancel()
            await server.stop(None)
        with suppress(asyncio.CancelledError):
            await stopping


def _credentials(tls: Tls) -> grpc.ServerCredentials:
    """Return credentials that are those of `tls` for each new connection, also when renewed."""

    def configure() -> grpc.ServerCertificateConfiguration:
        pem = tls.pem_files()
        return grpc.ssl_server_certificate_configuration([(pem.key, pem.certificate)], pem.ca)

    # gRPC calls the function for each handshake.
    return grpc.dynamic_ssl_server_credentials(
        configure(), configure, require_client_authentication=tls.requires_client_certificate
    )


def _build_server(max_message_bytes: int, max_connections: int) -> grpc.aio.Server:
    return grpc.aio.server(
        options=[
            # Two processes would share a port without a word.
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_allowed_incoming_connections", max_connections),
            ("grpc.max_concurrent_streams", _MAX_STREAMS),
            ("grpc.max_connection_idle_ms", _IDLE_MS),
            ("grpc.keepalive_time_ms", _PING_EVERY_MS),
            ("grpc.keepalive_timeout_ms", _PING_TIMEOUT_MS),
            ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
            # A message that nobody has asked for yet takes at most 64 KB of memory; with it, gRPC
            # would grow this window by measuring the network.
            ("grpc.http2.bdp_probe", 0),
        ]
    )


def _add_methods(server: grpc.aio.Server, answering: Methods, calls: Calls) -> None:
    about = Health(answering.readiness, (methods.NAME,))
    describing = Reflection([methods.NAME, health.NAME])
    services = {
        methods.NAME: {
            name: calls.handler(
                f"/{methods.NAME}/{name}", answer, takes_tensors=name == "ModelInfer"
            )
            for name, answer in answering.answers().items()
        },
        health.NAME: {
            "Check": calls.handler(f"/{health.NAME}/Check", about.check),
            "List": calls.handler(f"/{health.NAME}/List", about.list_all),
            "Watch": calls.stream_handler(about.watch),
        },
        reflection.NAME: {"ServerReflectionInfo": calls.stream_handler(describing.respond)},
    }
    server.add_generic_rpc_handlers(
        [
            grpc.method_handlers_generic_handler(service, handlers)
            for service, handlers in services.items()
        ]
    )


async def _stop_after_drain(
    server: grpc.aio.Server, readiness: Readiness, timeout_s: float
) -> None:
    while readiness.phase is not Phase.STOPPING:
        await readiness.wait_for_end_of(readiness.phase)
    await server.stop(timeout_s)
