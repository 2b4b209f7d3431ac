"""Who may have pictures looked at, where not everybody may."""

from __future__ import annotations

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from services.common.bearer import require_bearer


class TokenGate:
    """Refuses requests to one path that do not show the token, before anything of them is read."""

    def __init__(self, app: ASGIApp, token: SecretStr, path: str) -> None:
        """Guard `path` of `app`; probes and metrics are for the cluster, which has no token."""
        self._app = app
        self._token = token
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or raise NotAllowed."""
        if scope["type"] == "http" and scope["path"] == self._path:
            authorization = Headers(scope=scope).get("authorization", "")
            require_bearer(authorization, self._token, "this service")
        await self._app(scope, receive, send)
