"""The POST routes that pictures take: plain Starlette routes that bring their OpenAPI operation.

A FastAPI route takes 0.06 ms more CPU time for each picture: docs/decisions/012-fast-lane.md.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope


class PictureRoute(Route):
    """A POST route with its OpenAPI operation."""

    def __init__(
        self, path: str, endpoint: Callable[[Request], Awaitable[Response]], operation: Any
    ) -> None:
        """Serve POST requests to `path`, whose parameters are in braces."""
        super().__init__(path, endpoint, methods=["POST"])
        self.operation: dict[str, Any] = operation

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match a request; metrics and traces take the pattern from `scope["route"]`."""
        match, child_scope = super().matches(scope)
        if match is not Match.NONE:
            child_scope["route"] = self
        return match, child_scope


def picture_route(
    path: str,
    endpoint: Callable[[Request], Awaitable[Response]],
    *,
    summary: str,
    tag: str,
    parameters: Sequence[dict[str, Any]] = (),
    request_body: dict[str, Any] | None = None,
) -> PictureRoute:
    """Return a route for `build_app`; `parameters` are those that are not part of the path."""
    route = PictureRoute(path, endpoint, {"tags": [tag], "summary": summary})
    in_path = [_describe_path_parameter(name) for name in route.param_convertors]
    route.operation["operationId"] = re.sub(r"\W", "_", f"{route.name}{path}") + "_post"
    route.operation["parameters"] = [*in_path, *parameters]
    if request_body is not None:
        route.operation["requestBody"] = request_body
    route.operation["responses"] = {
        "200": {
            "description": "Successful Response",
            "content": {"application/json": {"schema": {}}},
        }
    }
    return route


def add_picture_routes(app: FastAPI, routes: Sequence[PictureRoute]) -> None:
    """Register the routes in front of all others, and add their operations to the schema."""
    app.router.routes[:0] = routes
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = generate()
            described = {route.path: {"post": route.operation} for route in routes}
            schema["paths"] = described | schema["paths"]
        return generate()

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it


def _describe_path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
