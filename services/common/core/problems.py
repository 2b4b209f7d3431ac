"""Map every exception to an RFC 9457 problem document; only this module chooses the statuses.

Two callers: RequestMiddleware for whatever a request raises, and Connection for what is wrong
before there is a request.
"""

from __future__ import annotations

import math
import re
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from elastic_yolo.picture.errors import (
    NotAPicture,
    PictureNotDrawable,
    PictureTooLarge,
    PictureUndecodable,
)
from services.common.request import errors
from services.common.request.body import JsonResponse

MEDIA_TYPE = "application/problem+json"

STATUS: dict[type[Exception], HTTPStatus] = {
    errors.MalformedRequest: HTTPStatus.BAD_REQUEST,
    errors.UnknownModel: HTTPStatus.NOT_FOUND,
    errors.Unauthorized: HTTPStatus.UNAUTHORIZED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.ModelUnusable: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.BodyTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    PictureTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.UnsupportedMedia: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.UnsupportedEncoding: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.LengthRequired: HTTPStatus.LENGTH_REQUIRED,
    NotAPicture: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.ParameterOutOfRange: HTTPStatus.UNPROCESSABLE_ENTITY,
    PictureUndecodable: HTTPStatus.UNPROCESSABLE_ENTITY,
    PictureNotDrawable: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.TooManyRequests: HTTPStatus.TOO_MANY_REQUESTS,
    errors.Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.DeadlineExceeded: HTTPStatus.GATEWAY_TIMEOUT,
}

GRPC_CODE: dict[int, str] = {
    HTTPStatus.BAD_REQUEST: "INVALID_ARGUMENT",
    HTTPStatus.UNAUTHORIZED: "UNAUTHENTICATED",
    HTTPStatus.FORBIDDEN: "PERMISSION_DENIED",
    HTTPStatus.NOT_FOUND: "NOT_FOUND",
    # Not RESOURCE_EXHAUSTED: clients send such a call again.
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "INVALID_ARGUMENT",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "INVALID_ARGUMENT",
    HTTPStatus.UNPROCESSABLE_ENTITY: "INVALID_ARGUMENT",
    HTTPStatus.TOO_MANY_REQUESTS: "RESOURCE_EXHAUSTED",
    HTTPStatus.INTERNAL_SERVER_ERROR: "INTERNAL",
    HTTPStatus.NOT_IMPLEMENTED: "UNIMPLEMENTED",
    HTTPStatus.SERVICE_UNAVAILABLE: "UNAVAILABLE",
    HTTPStatus.GATEWAY_TIMEOUT: "DEADLINE_EXCEEDED",
}
"""The gRPC status that stands for each HTTP status: https://grpc.io/docs/guides/status-codes/."""

# Label values of `elastic_yolo_problems_total`, which users' alerts select: a renamed class keeps
# its value. TooManyRequests carries its own.
_REASON: dict[type[Exception], str] = {
    errors.MalformedRequest: "malformed_request",
    errors.UnknownModel: "unknown_model",
    errors.Unauthorized: "not_allowed",
    errors.Forbidden: "forbidden",
    errors.ModelUnusable: "model_unusable",
    errors.BodyTooLarge: "body_too_large",
    PictureTooLarge: "picture_too_large",
    errors.UnsupportedMedia: "unsupported_media",
    errors.UnsupportedEncoding: "unsupported_media",
    errors.LengthRequired: "malformed_request",
    NotAPicture: "not_a_picture",
    errors.ParameterOutOfRange: "parameter_out_of_range",
    PictureUndecodable: "picture_undecodable",
    PictureNotDrawable: "picture_not_drawable",
    errors.Unavailable: "unavailable",
    errors.DeadlineExceeded: "deadline_exceeded",
    # The next service has counted its own reason.
    errors.RemoteProblem: "tier_behind",
}

# All that a caller learns of an unexpected error; the log has the traceback under the same uid.
INTERNAL_DETAIL = "internal error; the service's log has the details under this uid"


def is_expected(error: Exception) -> bool:
    """Return whether an error is one of those that this module maps, and not a bug."""
    known = (errors.RemoteProblem, RequestValidationError, HTTPException)
    return isinstance(error, known) or type(error) in STATUS


PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457. `detail` says what is wrong; `uid` is the request's id in the log.",
    "required": ["type", "title", "status", "detail", "uid", "error"],
    "properties": {
        "type": {"type": "string", "const": "about:blank"},
        "title": {"type": "string", "examples": ["Unsupported Media Type"]},
        "status": {"type": "integer", "examples": [415]},
        "detail": {"type": "string"},
        "uid": {"type": "string", "examples": ["0123456789abcdef0123456789abcdef"]},
        "error": {
            "type": "string",
            "description": "`detail`, for clients of the Open Inference Protocol",
        },
    },
}


def problem_response(error: Exception, uid: str) -> JsonResponse:
    """Return the response for an exception; an unexpected one becomes a 500 without details."""
    match error:
        case errors.RemoteProblem():
            status, title, detail = error.status, error.title, str(error)
        case RequestValidationError():
            status = HTTPStatus.UNPROCESSABLE_ENTITY
            title, detail = status.phrase, _first_error(error)
        case HTTPException():
            # The router raises it: no route has this path, or not with this method.
            status = error.status_code
            title = detail = HTTPStatus(status).phrase
        case _ if type(error) in STATUS:
            status = STATUS[type(error)]
            title, detail = status.phrase, str(error)
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
            # The Open Inference Protocol has the message here.
            "error": detail,
        },
        status_code=int(status),
        media_type=MEDIA_TYPE,
        headers=_headers(error),
    )


def problem_detail(error: Exception) -> str:
    """Return what the log says of an error; of an unexpected one the traceback is logged too."""
    match error:
        case RequestValidationError():
            return _first_error(error)
        case HTTPException():
            return HTTPStatus(error.status_code).phrase
        case _ if is_expected(error):
            return str(error)
        case _:
            return type(error).__name__


def problem_reason(error: Exception) -> str:
    """Return the metric label for an exception: one of a few words, whatever a caller sends."""
    match error:
        case errors.TooManyRequests():
            return error.reason
        case HTTPException() | RequestValidationError():
            return "no_such_request"
        case _:
            return _REASON.get(type(error), "unexpected")


def _headers(error: Exception) -> dict[str, str]:
    """Return the headers that a status requires."""
    again = _retry_after(error)
    headers = {} if again is None else {"Retry-After": again}
    match error:
        case errors.Unauthorized():
            headers["WWW-Authenticate"] = _challenge(error)
        case errors.UnsupportedEncoding():
            headers["Accept-Encoding"] = "gzip, deflate"
        case errors.LengthRequired():
            # The body's bytes would be taken for the next request.
            headers["Connection"] = "close"
        case HTTPException():
            headers |= error.headers or {}
    return headers


_AGAIN = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_SECONDS = re.compile(r"[0-9]{1,6}", re.ASCII)


def _retry_after(error: Exception) -> str | None:
    """Return Retry-After, which every 429 and 503 has."""
    match error:
        case errors.TooManyRequests():
            return str(error.retry_after_s)
        case errors.Unavailable():
            return str(max(1, math.ceil(error.retry_after_s)))
        case errors.RemoteProblem():
            # A server of another make may state none, a date or nonsense.
            stated = error.retry_after or ""
            if _SECONDS.fullmatch(stated):
                return stated
            return "1" if error.status in _AGAIN else None
    return None


# What an error_description may have, RFC 6750, section 3.
_DESCRIBING = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]")


def _challenge(error: errors.Unauthorized) -> str:
    """Return WWW-Authenticate; a request without a token gets no error code."""
    if error.error is None:
        return "Bearer"
    described = _DESCRIBING.sub("'", str(error))
    return f'Bearer error="{error.error}", error_description="{described}"'


def _first_error(error: RequestValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}"
