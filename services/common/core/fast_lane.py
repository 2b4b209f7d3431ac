"""The way of a picture past FastAPI's layers, which cost more than what the route itself does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from fastapi import Request, Response
from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from elastic_yolo.picture.errors import PictureError
from services.common.core.problems import answer_problem
from services.common.request.context import context_of
from services.common.request.errors import ServiceError

Endpoint = Callable[[Request], Awaitable[Response]]


class Lane(NamedTuple):
    """A POST route that every picture takes.

    `path` has its parameters in braces, as everywhere in FastAPI, and is what the documentation
    and the metrics call it.
    """

    path: str
    endpoint: Endpoint


class FastLane:
    """Calls an endpoint at once, before FastAPI looks for it among all routes.

    The endpoint is an ordinary route as well, so that it is part of the API's description: what is
    saved, and what that costs, is in docs/decisions/012-fast-lane.md.
    """

    def __init__(self, app: ASGIApp, lanes: list[Lane]) -> None:
        """Put `lanes` in front of `app`."""
        self._app = app
        self._lanes = [(compile_path(lane.path)[0], lane) for lane in lanes]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request of a lane, errors included; hand on every other."""
        if scope["type"] == "http" and scope["method"] == "POST":
            for pattern, lane in self._lanes:
                match = pattern.fullmatch(scope["path"])
                if match:
                    scope["route"] = lane
                    scope["path_params"] = match.groupdict()
                    await _answer(lane.endpoint, scope, receive, send)
                    return
        await self._app(scope, receive, send)


async def _answer(endpoint: Endpoint, scope: Scope, receive: Receive, send: Send) -> None:
    try:
        response = await endpoint(Request(scope, receive))
    except (ServiceError, PictureError) as error:
        response = answer_problem(error, context_of(scope))
    await response(scope, receive, send)
