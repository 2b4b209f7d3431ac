"""Exceptions become responses in RequestMiddleware, wherever in an app they are raised."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.testing import capture_logs

from elastic_yolo.picture.errors import NotAPicture
from services.common.core.app import build_app
from services.common.core.middleware import RequestMiddleware
from services.common.core.picture_route import picture_route
from services.common.core.probes import Readiness
from services.common.core.problems import STATUS, problem_reason
from services.common.observe.logs import get_logger
from services.common.observe.telemetry import Metrics
from services.common.request.errors import (
    ParameterOutOfRange,
    RemoteProblem,
    ServiceError,
    TooManyRequests,
    Unavailable,
)
from services.web.settings import WebSettings

pytestmark = pytest.mark.anyio

RAISED: dict[str, tuple[Exception, int]] = {
    "service error": (ParameterOutOfRange("too much"), 422),
    "picture error": (NotAPicture("not a picture"), 415),
    "remote problem": (RemoteProblem(404, "Not Found", "no such model", None), 404),
    "overload": (TooManyRequests("full", 7, "queue_full"), 429),
    "bug": (ZeroDivisionError("division by zero"), 500),
    "error without a status": (ServiceError("base class"), 500),
}


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[Any]]:
    """Capture what is logged: an unconfigured logger takes seconds for a traceback."""
    get_logger.cache_clear()
    with capture_logs() as lines:
        yield lines
    get_logger.cache_clear()


class _Gate:
    """Raises a given exception for the path /gate."""

    def __init__(self, app: ASGIApp, error: Exception) -> None:
        self._app = app
        self._error = error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path") == "/gate":
            raise self._error
        await self._app(scope, receive, send)


def app_that_raises(error: Exception, metrics: Metrics) -> FastAPI:
    """Return an app whose gate, plain route and FastAPI route raise `error`."""
    router = APIRouter()

    async def plain(_request: Request) -> NoReturn:
        raise error

    @router.post("/fastapi")
    async def typed(number: int = 0) -> dict[str, str]:
        del number
        raise error

    @asynccontextmanager
    async def resources() -> AsyncIterator[None]:
        yield

    async def nothing(*_: object) -> dict[str, object]:
        return {}

    return build_app(
        summary="Raises.",
        settings=WebSettings(preprocess_url="http://127.0.0.1:1"),
        readiness=Readiness(),
        metrics=metrics,
        routers=[router],
        check_dependencies=nothing,
        check_status=nothing,
        resources=resources,
        picture_routes=[picture_route("/plain", plain, summary="Raises", tag="test")],
        gates=[Middleware(_Gate, error=error)],
    )


async def post(app: FastAPI, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.post(path)


@pytest.mark.parametrize("path", ["/gate", "/plain", "/fastapi"])
@pytest.mark.parametrize("kind", RAISED)
async def test_an_exception_has_one_response_wherever_it_is_raised(kind: str, path: str) -> None:
    error, status = RAISED[kind]

    response = await post(app_that_raises(error, Metrics("test")), path)

    problem = response.json()
    assert response.status_code == problem["status"] == status
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["uid"] == response.headers["x-request-id"]
    assert "server-timing" in response.headers
    expected = "internal error" if status == 500 else str(error)
    assert problem["detail"].startswith(expected)
    assert response.headers.get("retry-after") == ("7" if kind == "overload" else None)


@pytest.mark.parametrize(
    ("path", "status"), [("/nowhere", 404), ("/fastapi?number=many", 422), ("/livez", 405)]
)
async def test_errors_of_the_router_are_problem_documents(path: str, status: int) -> None:
    response = await post(app_that_raises(Unavailable("unused"), Metrics("test")), path)

    assert response.status_code == response.json()["status"] == status
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(("kind", "unexpected"), [("bug", True), ("service error", False)])
async def test_only_an_unexpected_error_is_logged_with_its_traceback(
    kind: str, *, unexpected: bool, logged: list[Any]
) -> None:
    error, _ = RAISED[kind]

    response = await post(app_that_raises(error, Metrics("test")), "/plain")

    lines = [line for line in logged if line["event"] == "unexpected error"]
    assert [line["exc_info"] for line in lines] == ([error] if unexpected else [])
    assert {line["uid"] for line in logged} == {response.json()["uid"]}


async def test_a_refusal_is_counted_with_its_route_and_reason() -> None:
    metrics = Metrics("test")
    error, _ = RAISED["overload"]

    await post(app_that_raises(error, metrics), "/plain")

    labels = {"service": "test", "reason": "queue_full"}
    assert metrics.registry.get_sample_value("elastic_yolo_problems_total", labels) == 1
    labels = {"service": "test", "route": "/plain", "method": "POST", "status": "429"}
    assert metrics.registry.get_sample_value("elastic_yolo_requests_total", labels) == 1


def test_the_reasons_in_the_metrics_do_not_follow_renamed_classes() -> None:
    """Alerts and dashboards select them."""
    one_argument = [kind for kind in STATUS if kind not in (TooManyRequests, RemoteProblem)]

    assert {problem_reason(kind("why")) for kind in one_argument} == {
        "malformed_request",
        "unknown_model",
        "not_allowed",
        "forbidden",
        "model_unusable",
        "unsupported_media",
        "body_too_large",
        "parameter_out_of_range",
        "unavailable",
        "deadline_exceeded",
        "picture_too_large",
        "not_a_picture",
        "picture_undecodable",
        "picture_not_drawable",
    }
    assert problem_reason(TooManyRequests("full", 1, "queue_full")) == "queue_full"
    assert problem_reason(RemoteProblem(503, "", "", None)) == "tier_behind"
    assert problem_reason(HTTPException(404)) == "no_such_request"
    assert problem_reason(ZeroDivisionError()) == "unexpected"


async def test_an_error_after_the_response_has_begun_is_logged() -> None:
    async def begin_and_fail(_scope: Scope, _receive: Receive, send: Send) -> NoReturn:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ParameterOutOfRange("too late")

    app = RequestMiddleware(begin_and_fail, Metrics("web"), Readiness(), longest_ms=1000)
    with capture_logs() as lines:
        await send_get(app)

    (line,) = [line for line in lines if line["log_level"] == "error"]
    assert line["event"] == "unexpected error"


async def send_get(app: ASGIApp) -> None:
    """Send a GET request to an ASGI app and ignore what it sends back."""
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "query_string": b"",
        "headers": [],
        "http_version": "1.1",
        "scheme": "http",
    }
    received = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> Message:
        return next(received)

    async def send(_message: Message) -> None:
        pass

    await app(scope, receive, send)
