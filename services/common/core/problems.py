"""Map every exception to an RFC 9457 problem document. No other module knows a status code."""

from __future__ import annotations

import re
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from elastic_yolo.picture.errors import (
    NotAPicture,
    PictureError,
    PictureTooLarge,
    PictureUndecodable,
)
from services.common.request import errors
from services.common.request.context import RequestContext, context_of
from services.common.request.json_response import JsonResponse

MEDIA_TYPE = "application/problem+json"
_CAPITAL = re.compile(r"([A-Z])")

STATUS: dict[type[Exception], HTTPStatus] = {
    errors.MalformedRequest: HTTPStatus.BAD_REQUEST,
    errors.UnknownModel: HTTPStatus.NOT_FOUND,
    errors.Unauthorized: HTTPStatus.UNAUTHORIZED,
    errors.ModelUnusable: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.BodyTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    PictureTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.UnsupportedMedia: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    NotAPicture: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.ParameterOutOfRange: HTTPStatus.UNPROCESSABLE_ENTITY,
    PictureUndecodable: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.TooManyRequests: HTTPStatus.TOO_MANY_REQUESTS,
    errors.Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.DeadlineExceeded: HTTPStatus.GATEWAY_TIMEOUT,
}

# Shown for everything that nobody foresaw: what really happened is in the log, under the same uid.
INTERNAL_DETAIL = "something went wrong here; the log has it under this uid"


def install_problems(app: FastAPI) -> None:
    """Answer every exception that a route raises with a problem document."""
    for kind in (errors.ServiceError, PictureError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _respond)


async def _respond(request: Request, error: Exception) -> JsonResponse:
    return answer_problem(error, context_of(request.scope))


def answer_problem(error: Exception, context: RequestContext) -> JsonResponse:
    """Build the answer for an exception, and note in the context what it was."""
    context.problem = _reason(error)
    return to_response(error, context.uid)


def to_response(error: Exception, uid: str) -> JsonResponse:
    """Build the answer for an exception; unknown kinds become 500 and tell nothing."""
    headers: dict[str, str] = {}
    match error:
        case errors.RemoteProblem():
            status, title, detail = error.status, error.title, str(error)
            if error.retry_after is not None:
                headers["Retry-After"] = error.retry_after
        case errors.TooManyRequests():
            status, title, detail = _known(error)
            headers["Retry-After"] = str(error.retry_after_s)
        case errors.Unauthorized():
            status, title, detail = _known(error)
            headers["WWW-Authenticate"] = "Bearer"
        case RequestValidationError():
            status = HTTPStatus.UNPROCESSABLE_ENTITY
            title, detail = status.phrase, _first_error(error)
        case HTTPException():
            # Raised by the router itself: no such route, or not with this method.
            status = error.status_code
            title = detail = HTTPStatus(status).phrase
            headers |= error.headers or {}
        case _ if type(error) in STATUS:
            status, title, detail = _known(error)
        case _:
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            title, detail = status.phrase, INTERNAL_DETAIL
    return JsonResponse(
        {
            "type": "about:blank",
            "title": title,
            "status": int(status),
            "detail": detail,
            "uid": uid,
            # Where the Open Inference Protocol looks for the message.
            "error": detail,
        },
        status_code=int(status),
        media_type=MEDIA_TYPE,
        headers=headers,
    )


def _reason(error: Exception) -> str:
    """Return what the metrics call a problem: one of few words, whatever strangers send."""
    match error:
        case errors.TooManyRequests():
            return error.reason
        case errors.RemoteProblem():
            # The tier behind has counted what it was.
            return "tier_behind"
        case HTTPException() | RequestValidationError():
            return "no_such_request"
        case _ if type(error) in STATUS:
            return _CAPITAL.sub(r"_\1", type(error).__name__).lower().removeprefix("_")
        case _:
            return "unexpected"


def _known(error: Exception) -> tuple[HTTPStatus, str, str]:
    status = STATUS[type(error)]
    return status, status.phrase, str(error)


def _first_error(error: RequestValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}"
