"""Ask another service, within the caller's time and with the caller's identity."""

from __future__ import annotations

import json
from typing import Any, TypeVar

import httpx
from httpx_aiohttp import HttpxAiohttpClient
from pydantic import BaseModel, ValidationError

from services.common.context import RequestContext
from services.common.errors import DeadlineExceeded, RemoteProblem, Unavailable

M = TypeVar("M", bound=BaseModel)

# Statuses whose meaning holds for the caller of the caller as well; the rest is our own failure.
_PASSED_ON = frozenset({400, 404, 413, 415, 422, 429, 503, 504})
_READY_TIMEOUT_S = 1.0
_CONNECT_TIMEOUT_S = 2.0


class Peer:
    """A service behind this one. `name` is what errors call it, so that no address leaks."""

    def __init__(self, name: str, url: str) -> None:
        """Prepare a connection pool; nothing is sent yet."""
        self.name = name
        # Every request in flight may need a connection: admission limits them, not the pool.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        self._client = HttpxAiohttpClient(
            base_url=url, limits=limits, follow_redirects=False, trust_env=False
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def send(
        self,
        context: RequestContext,
        method: str,
        path: str,
        *,
        content: bytes | list[bytes] | None = None,
        headers: dict[str, str] | None = None,
        params: dict[str, str] | None = None,
    ) -> httpx.Response:
        """Send a request and return the complete answer, which has status 200.

        Raises DeadlineExceeded, Unavailable (no connection, or it broke), RemoteProblem (the
        peer's own problem, where it concerns the caller).
        """
        left = context.deadline.remaining_s()
        try:
            response = await self._client.request(
                method,
                path,
                content=content,
                params=params,
                headers={**context.to_headers(), **(headers or {})},
                timeout=httpx.Timeout(left, connect=min(left, _CONNECT_TIMEOUT_S)),
            )
        except httpx.ConnectTimeout:
            raise Unavailable(f"the {self.name} service cannot be reached") from None
        except httpx.TimeoutException:
            raise DeadlineExceeded(f"the {self.name} service did not answer in time") from None
        except httpx.TransportError as error:
            raise Unavailable(f"the {self.name} service cannot be reached") from error
        context.timings.absorb(response.headers.get("server-timing"))
        if response.status_code != httpx.codes.OK:
            raise self._to_error(response)
        return response

    async def check_ready(self) -> None:
        """Raise Unavailable unless the peer says that it is ready."""
        try:
            response = await self._client.get("/readyz", timeout=_READY_TIMEOUT_S)
        except httpx.TransportError as error:
            raise Unavailable(f"the {self.name} service cannot be reached") from error
        if response.status_code != httpx.codes.OK:
            raise Unavailable(f"the {self.name} service is not ready")

    def read_json(self, response: httpx.Response) -> Any:
        """Return the parsed body; raises Unavailable if it is no JSON."""
        try:
            return json.loads(response.content)
        except ValueError as error:
            raise self.nonsense() from error

    def read_model(self, kind: type[M], response: httpx.Response) -> M:
        """Return the body as a pydantic model; raises Unavailable if it is none."""
        try:
            return kind.model_validate_json(response.content)
        except ValidationError as error:
            raise self.nonsense() from error

    def nonsense(self) -> Unavailable:
        """Build the error for an answer that breaks the agreement between the services."""
        return Unavailable(f"the {self.name} service gave an answer that makes no sense")

    def _to_error(self, response: httpx.Response) -> Exception:
        try:
            problem = response.json()
            title, detail = str(problem["title"]), str(problem["detail"])
        except (ValueError, KeyError, TypeError):
            return self.nonsense()
        if response.status_code not in _PASSED_ON:
            return Unavailable(f"the {self.name} service failed")
        retry_after = response.headers.get("retry-after")
        return RemoteProblem(response.status_code, title, detail, retry_after)
