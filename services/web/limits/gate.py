"""Refuses pictures beyond a client's limits before their bodies are read."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv6Address, ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from services.common.core.picture_route import RefusedRoute
from services.common.request.context import context_of
from services.common.request.errors import TooManyRequests
from services.common.request.identity import Identity, Limits
from services.web.limits.headers import describe_left, describe_policies
from services.web.limits.stores import UsageStore
from services.web.limits.usage import Verdict

NO_LIMITS = Limits()
# One IPv6 network has as many addresses as its owner likes.
_NETWORK_BITS = 64


class LimitGate:
    """Counts each picture for its client: the identity, or the address where there is none."""

    def __init__(
        self, app: ASGIApp, paths: tuple[str, ...], store: UsageStore, default: Limits
    ) -> None:
        """Guard POST requests to `paths`; `default` is for clients without limits of their own."""
        self._app = app
        self._paths = paths
        self._store = store
        self._default = default

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or raise TooManyRequests or Unavailable."""
        guarded = scope["type"] == "http" and scope["path"] in self._paths
        if not guarded or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        # For the metrics of a refusal, as in AdmissionGate.
        scope["route"] = RefusedRoute(scope["path"])
        context = context_of(scope)
        limits = self._default
        if context.identity is not None and context.identity.limits is not None:
            limits = context.identity.limits
        if limits == NO_LIMITS:
            await self._app(scope, receive, send)
            return
        host = scope["client"][0] if scope.get("client") else ""
        grant = await self._store.take(name_client(context.identity, host), limits)
        context.response_headers["RateLimit-Policy"] = describe_policies(limits)
        context.response_headers["RateLimit"] = describe_left(limits, grant.verdict)
        if grant.verdict.refusal is not None:
            raise _refusal(limits, grant.verdict)
        try:
            await self._app(scope, receive, send)
        finally:
            grant.give_back()


def name_client(identity: Identity | None, host: str) -> str:
    """Return the name under which pictures are counted; `host` is the caller's address."""
    if identity is not None:
        return f"{identity.kind}:{identity.client}"
    with suppress(ValueError):
        address = ip_address(host)
        if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
            return f"network:{int(address) >> (128 - _NETWORK_BITS):x}"
    return f"address:{host}"


def _refusal(limits: Limits, verdict: Verdict) -> TooManyRequests:
    again_s = verdict.retry_after_s(limits)
    match verdict.refusal:
        case "rate_limit":
            what = f"more than {limits.rate:g} pictures per second from this client"
        case "concurrency_limit":
            what = f"{limits.concurrency} pictures of this client are in progress"
        case _:
            what = f"this client has sent its {limits.daily} pictures of today (UTC)"
    assert verdict.refusal is not None  # noqa: S101
    return TooManyRequests(f"{what}: try again in {again_s} s", again_s, verdict.refusal)
