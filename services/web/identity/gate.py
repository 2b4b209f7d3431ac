"""Refuses requests of unknown callers before their bodies are read."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from services.common.core.access_token import BEARER, Schemes, read_bearer
from services.common.core.picture_route import RefusedRoute
from services.common.request.context import Deadline, context_of
from services.common.request.errors import DeadlineExceeded, MalformedRequest, Unauthorized
from services.common.request.identity import Identity
from services.web.identity.api_keys import ApiKeys

if TYPE_CHECKING:
    from services.web.identity.tokens import TokenVerifier

_REQUIRED = (
    "this service requires an API key or a token: send Authorization: Bearer ... or X-API-Key"
)
_UNKNOWN = "the API key or token is not known to this service"
# For a caller that is checked again; the issuer's keys are in memory, as a rule.
_CHECK_MS = 5000


class IdentityGate:
    """Finds out who sends a request: by an API key, or by a token of the issuer."""

    schemes: ClassVar[Schemes] = {
        **BEARER,
        "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }

    def __init__(
        self,
        app: ASGIApp,
        prefixes: tuple[str, ...],
        keys: ApiKeys,
        tokens: TokenVerifier | None,
    ) -> None:
        """Guard the paths of `app` that begin with one of `prefixes`.

        Without `tokens`, keys alone count.
        """
        self._app = app
        self._prefixes = prefixes
        self._keys = keys
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its identity in the context.

        Raises Unauthorized, MalformedRequest for several credentials, and Unavailable.
        """
        if scope["type"] == "http" and scope["path"].startswith(self._prefixes):
            if scope["path"] in self._prefixes:
                # For the metrics of a refusal, as in AdmissionGate.
                scope["route"] = RefusedRoute(scope["path"])
            context = context_of(scope)
            headers = Headers(scope=scope)
            context.identify(await self._identify(headers, context.deadline))
            context.check_identity = partial(self._check, headers)
        await self._app(scope, receive, send)

    async def _check(self, headers: Headers) -> None:
        await self._identify(headers, Deadline.after_ms(_CHECK_MS))

    async def _identify(self, headers: Headers, deadline: Deadline) -> Identity:
        authorization, key = _read_once(headers, "Authorization"), _read_once(headers, "X-API-Key")
        bearer = read_bearer(authorization or "")
        if bearer is not None and key is not None:
            raise MalformedRequest("send either Authorization: Bearer ... or X-API-Key, not both")
        credential = bearer if bearer is not None else key
        if not credential:
            raise Unauthorized(_REQUIRED)
        identity = self._keys.find(credential)
        if identity is not None:
            return identity
        if bearer is None or self._tokens is None:
            raise Unauthorized(_UNKNOWN)
        try:
            async with asyncio.timeout(deadline.remaining_s()):
                return await self._tokens.identify(bearer)
        except TimeoutError:
            raise DeadlineExceeded("the token could not be checked in time") from None


def _read_once(headers: Headers, name: str) -> str | None:
    """Return a header as the text that its bytes are in UTF-8; raises MalformedRequest for two."""
    found = headers.getlist(name)
    if len(found) > 1:
        # A proxy and this service might not mean the same one.
        raise MalformedRequest(f"{name}: given {len(found)} times, expected once")
    return found[0].encode("latin-1").decode("utf-8", "surrogateescape") if found else None
