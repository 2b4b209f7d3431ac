"""The POST routes that pictures take, their query parameters, and their OpenAPI operations.

They are plain Starlette routes in front of FastAPI's own, and a picture reaches its endpoint
without the layers between: docs/decisions/012-fast-lane.md.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from fastapi import FastAPI
from starlette.datastructures import Headers, QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from elastic_yolo.names import MOST_NAME, NAME, nearest_names
from services.common.request.errors import MalformedRequest, ParameterOutOfRange, UnknownModel

# `ensemble:` and four names.
_MAX_NAME = 10 + 4 * (MOST_NAME + 1)

PARAMETERS: list[dict[str, Any]] = [
    {
        "name": "model",
        "in": "query",
        "required": False,
        "description": "Name of the model; default: the service's default model. `ensemble:a+b` "
        "runs both and merges their detections.",
        "schema": {"type": "string", "maxLength": _MAX_NAME},
    },
    {
        "name": "threshold",
        "in": "query",
        "required": False,
        "description": "Lowest score of a box; default: the model's own threshold.",
        "schema": {"type": "number", "minimum": 0, "maximum": 1},
    },
    {
        "name": "iou",
        "in": "query",
        "required": False,
        "description": "Overlap (IoU) above which non-maximum suppression drops the box with the "
        "lower score; default: the model's own.",
        "schema": {"type": "number", "minimum": 0, "maximum": 1},
    },
]

VERSION: dict[str, Any] = {
    "name": "version",
    "in": "query",
    "required": False,
    "description": "Version of the model; default: any version that is served.",
    "schema": {"type": "string", "maxLength": MOST_NAME},
}

ROUTE_PREFIX = "x-route-"
"""Begins the headers that callers choose, and by which preprocess may choose a back end."""
# Web copies them to another request, so a caller may not make them many or long.
_MOST_ROUTE_HEADERS = 8
_RAW_PREFIX = ROUTE_PREFIX.encode()
MOST_ROUTE_CHARACTERS = 200

_PICTURE = {"type": "string", "format": "binary"}


class PictureRoute(Route):
    """A POST route with its OpenAPI operation."""

    def __init__(
        self,
        path: str,
        endpoint: Callable[[Request], Awaitable[Response]],
        name: str | None,
        operation: Any,
    ) -> None:
        """Serve POST requests to `path`, whose parameters are in braces."""
        super().__init__(path, endpoint, methods=["POST"], name=name)
        self.operation: dict[str, Any] = operation

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match a request; metrics and traces take the pattern from `scope["route"]`."""
        match, child_scope = super().matches(scope)
        if match is not Match.NONE:
            child_scope["route"] = self
        return match, child_scope


class RefusedRoute(NamedTuple):
    """What a gate sets as `scope["route"]`, so that metrics name what it refuses before routing."""

    path: str


class PictureLane:
    """Calls the endpoint of a picture's route; passes everything else on, also other methods.

    Exceptions reach RequestMiddleware, as they do from the routes behind.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[PictureRoute]) -> None:
        """Take pictures away from `app`."""
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a picture, or pass the request on."""
        if scope["type"] == "http":
            for route in self._routes:
                match, found = route.matches(scope)
                if match is Match.FULL:
                    scope.update(found)
                    response = await route.endpoint(Request(scope, receive, send))
                    await response(scope, receive, send)
                    return
        await self._app(scope, receive, send)


def picture_route(
    path: str,
    endpoint: Callable[[Request], Awaitable[Response]],
    *,
    summary: str,
    tag: str,
    name: str | None = None,
    parameters: Sequence[dict[str, Any]] = (),
    request_body: dict[str, Any] | None = None,
    response: dict[str, Any] | None = None,
    picture_types: Sequence[str] = (),
) -> PictureRoute:
    """Return a route for `build_app`; `parameters` are those that are not part of the path.

    `response` is the schema of its JSON, `picture_types` are those of its responses besides JSON.

    `name` begins the operation id, after which generated clients name their methods; by default it
    is the function's.
    """
    known = frozenset(parameter["name"] for parameter in parameters)

    @functools.wraps(endpoint)
    async def checked(request: Request) -> Response:
        check_query(request.query_params, known)
        return await endpoint(request)

    route = PictureRoute(path, checked, name, {"tags": [tag], "summary": summary})
    route.operation["description"] = (
        "The header `X-Timeout-Ms` limits the time of the request, in milliseconds."
    )
    in_path = [_describe_path_parameter(parameter) for parameter in route.param_convertors]
    route.operation["operationId"] = re.sub(r"\W", "_", f"{route.name}{path}") + "_post"
    route.operation["parameters"] = [*in_path, *parameters]
    if request_body is not None:
        route.operation["requestBody"] = request_body
    route.operation["responses"] = {
        "200": {
            "description": "Successful Response",
            "content": {
                "application/json": {"schema": response or {}},
                **{kind: {"schema": _PICTURE} for kind in picture_types},
            },
        }
    }
    return route


def add_picture_routes(app: FastAPI, routes: Sequence[PictureRoute]) -> None:
    """Register the routes in front of all others, and add their operations to the schema."""
    # For other methods, which get 405 with the one that is allowed.
    app.router.routes[:0] = routes
    app.add_middleware(PictureLane, routes=routes)
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is not None:
            return app.openapi_schema
        schema = generate()
        described = {route.path: {"post": route.operation} for route in routes}
        schema["paths"] = described | schema["paths"]
        return schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it


def _describe_path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def check_query(query: QueryParams, known: frozenset[str]) -> None:
    """Raise ParameterOutOfRange for a parameter that is unknown or given several times."""
    items = query.multi_items()
    names = {name for name, _ in items}
    for name in names - known:
        raise ParameterOutOfRange(f"{name[:80]}: unknown parameter, {_suggest(name, known)}")
    if len(items) > len(names):
        counts = [name for name, _ in items]
        twice = next(name for name in names if counts.count(name) > 1)
        raise ParameterOutOfRange(f"{twice}: given {counts.count(twice)} times, expected once")


def _suggest(name: str, known: frozenset[str]) -> str:
    if not known:
        return "this route has no query parameters"
    near = nearest_names(name, known)
    return f"did you mean {near[0]}?" if near else f"expected {', '.join(sorted(known))}"


def read_model_name(query: QueryParams) -> str | None:
    """Return the parameter `model`; raises ParameterOutOfRange if it is too long."""
    name = query.get("model")
    if name is not None and len(name) > _MAX_NAME:
        raise ParameterOutOfRange(f"model: expected at most {_MAX_NAME} characters")
    return name


def read_version(query: QueryParams) -> str | None:
    """Return the parameter `version`; raises UnknownModel if it cannot be a version's name."""
    version = query.get("version")
    # A version becomes part of a path, so it may contain nothing else.
    if version is not None and not NAME.fullmatch(version):
        raise UnknownModel(f"unknown version {version[:80]!r}")
    return version


def read_fractions(query: QueryParams) -> dict[str, float]:
    """Return `threshold` and `iou` if the query has them; raises ParameterOutOfRange."""
    return {name: _fraction(name, query[name]) for name in ("threshold", "iou") if name in query}


def _fraction(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ParameterOutOfRange(f"{name}: expected a number from 0 to 1, found {text[:40]!r}")
    return value


def read_route_headers(headers: Headers) -> dict[str, str]:
    """Return a request's `X-Route-*` headers, with names in lower case.

    Raises MalformedRequest for too many, too long ones, and a name that is given twice.
    """
    found: dict[str, str] = {}
    for raw_name, raw_value in headers.raw:
        if not raw_name.startswith(_RAW_PREFIX):
            continue
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if len(name) > MOST_ROUTE_CHARACTERS or len(value) > MOST_ROUTE_CHARACTERS:
            raise MalformedRequest(
                f"{name[:40]}: expected at most {MOST_ROUTE_CHARACTERS} characters in each"
            )
        if name in found:
            raise MalformedRequest(f"{name}: given several times, expected once")
        found[name] = value
    if len(found) > _MOST_ROUTE_HEADERS:
        raise MalformedRequest(f"expected at most {_MOST_ROUTE_HEADERS} headers {ROUTE_PREFIX}*")
    return found
