"""Bearer tokens in the header `Authorization` (RFC 6750)."""

from __future__ import annotations

import hmac
from typing import ClassVar

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from services.common.request.errors import Unauthorized

Schemes = dict[str, dict[str, str]]
"""OpenAPI's security schemes by name."""

BEARER: Schemes = {"bearer": {"type": "http", "scheme": "bearer"}}


def read_bearer(authorization: str) -> str | None:
    """Return the bearer token of the header; None if it has none."""
    # The scheme in any case, and one or more spaces: RFC 9110, section 11.
    scheme, _, stated = authorization.partition(" ")
    return stated.strip(" ") if scheme.lower() == "bearer" else None


def require_bearer(authorization: str, token: SecretStr, what: str) -> None:
    """Raise Unauthorized unless the header has the token; `what` is the name of what it guards."""
    stated = read_bearer(authorization)
    expected = token.get_secret_value().encode()
    # In constant time: the duration must not tell how many characters were right.
    if stated is None or not hmac.compare_digest(stated.encode(), expected):
        raise Unauthorized(f"{what} requires a token: Authorization: Bearer ...")


class TokenGate:
    """Refuses requests without the token before their bodies are read."""

    schemes: ClassVar[Schemes] = BEARER

    def __init__(
        self, app: ASGIApp, token: SecretStr, prefixes: tuple[str, ...], what: str
    ) -> None:
        """Guard the paths of `app` that begin with one of `prefixes`; errors call them `what`."""
        self._app = app
        self._token = token
        self._prefixes = prefixes
        self._what = what

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or raise Unauthorized."""
        if scope["type"] == "http" and scope["path"].startswith(self._prefixes):
            authorization = Headers(scope=scope).get("authorization", "")
            require_bearer(authorization, self._token, self._what)
        await self._app(scope, receive, send)
