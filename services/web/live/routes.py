"""The routes of the live view: the page, its stream, and the load that it may order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from http import HTTPStatus

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError
from starlette.types import Receive, Scope, Send

from services.common.request.body import Bodies
from services.common.request.context import context_of
from services.common.request.errors import ParameterOutOfRange, UnsupportedMedia
from services.web.live.collector import Collector
from services.web.live.load import LoadOrder, LoadSender

PREFIX = "/live/"
"""Of what only callers with an identity may see; the page itself shows nothing without it."""
_MAX_ORDER_BYTES = 1000
_CREDENTIALS = ("authorization", "x-api-key")
_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    # nginx would collect the events before it passes them on.
    "X-Accel-Buffering": "no",
}


class EventStream(Response):
    """A response that goes on until the events end or the viewer leaves."""

    def __init__(self, events: AsyncIterator[bytes]) -> None:
        """Send what `events` yields, each as soon as the connection takes it."""
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        async with asyncio.timeout(context_of(scope).deadline.remaining_s()):
            # When the body is complete, RequestMiddleware begins to watch the connection: it
            # cancels this when the viewer leaves.
            while (await receive()).get("more_body"):
                pass
        begun = False
        async with aclosing(self._events) as events:  # type: ignore[type-var]
            async for event in events:
                if not begun:
                    begun = True
                    await send(
                        {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
                    )
                await send({"type": "http.response.body", "body": event, "more_body": True})
        if not begun:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def build_live_routes(collector: Collector) -> APIRouter:
    """Return the stream."""
    router = APIRouter(tags=["web"])

    @router.get("/live/events", include_in_schema=False)
    async def send_events(request: Request) -> Response:
        collector.require_room()
        if context_of(request.scope).is_head:
            return Response(headers=_HEADERS)
        check = context_of(request.scope).check_identity
        return EventStream(collector.watch(_credential(request), check))

    return router


def build_load_routes(load: LoadSender, bodies: Bodies) -> APIRouter:
    """Return the routes of the load, for where LIVE_LOAD is set."""
    router = APIRouter(include_in_schema=False)

    @router.post("/live/load", status_code=HTTPStatus.NO_CONTENT)
    async def start_load(request: Request) -> None:
        media_type = request.headers.get("content-type", "").partition(";")[0]
        if media_type.strip().lower() != "application/json":
            # Pages of other sites can send any type but this one without being asked first.
            raise UnsupportedMedia("send the order as application/json")
        async with bodies.receive_body(request, _MAX_ORDER_BYTES) as body:
            try:
                order = LoadOrder.model_validate_json(body)
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"])) or "body"
                raise ParameterOutOfRange(f"{where}: {first['msg']}") from None
        await load.start(request.app, order, _credential(request))

    @router.delete("/live/load", status_code=HTTPStatus.NO_CONTENT)
    async def stop_load() -> None:
        await load.stop()

    return router


def _credential(request: Request) -> Mapping[str, str]:
    """Return the headers by which a caller has identified itself."""
    return {name: request.headers[name] for name in _CREDENTIALS if name in request.headers}
