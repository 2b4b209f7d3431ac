"""What stands in front of the routes: identity, then limits; built from the settings.

PyJWT, cryptography, httpx and redis are imported only where the settings ask for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from prometheus_client import Gauge
from starlette.middleware import Middleware

from services.common.observe.logs import get_logger
from services.common.observe.telemetry import Metrics
from services.web.limits.gate import NO_LIMITS, LimitGate
from services.web.limits.stores import MemoryStore, UsageStore
from services.web.settings import WebSettings

if TYPE_CHECKING:
    from services.web.identity.tokens import TokenVerifier

NO_IDENTITY = "no identity: anyone may send pictures"


class Door:
    """The gates in front of the routes, and what they need while the service runs."""

    def __init__(
        self,
        settings: WebSettings,
        metrics: Metrics,
        *,
        limited: tuple[str, ...],
        guarded: tuple[str, ...],
    ) -> None:
        """Build what the settings ask for; raises KeysFileInvalid.

        Limits count requests to the paths `limited`. Identity is required for all paths that begin
        with one of `guarded`.
        """
        self.gates: list[Middleware] = []
        """The last comes first."""
        self._followers: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._closers: list[Callable[[], Awaitable[None]]] = []
        self._kinds: list[str] = []
        # The file may get limits for a client at any time.
        if settings.limits != NO_LIMITS or settings.api_keys_file is not None:
            store = self._build_store(settings, metrics)
            limiting = Middleware(LimitGate, paths=limited, store=store, default=settings.limits)
            self.gates.append(limiting)
        if settings.token or settings.api_keys_file or settings.oidc_issuer:
            # A request of an unknown caller must not learn about limits or load.
            self.gates.append(self._build_identity(settings, guarded))

    @property
    def requires_identity(self) -> bool:
        """Whether the guarded paths are closed to strangers."""
        return bool(self._kinds)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Keep keys up to date until the block ends."""
        if self._kinds:
            get_logger().info("identity is required", of=", ".join(self._kinds))
        else:
            get_logger().info(NO_IDENTITY, required_by="ACCESS_TOKEN, API_KEYS_FILE or OIDC_ISSUER")
        async with AsyncExitStack() as stack:
            for close in self._closers:
                stack.push_async_callback(close)
            for follow in self._followers:
                stack.push_async_callback(_cancel, asyncio.create_task(follow()))
            yield

    def _build_store(self, settings: WebSettings, metrics: Metrics) -> UsageStore:
        if settings.redis_url is None:
            return MemoryStore()
        from services.web.limits.redis_store import RedisStore  # noqa: PLC0415  # 0.1 s

        longest_s = settings.request_timeout_ms / 1000
        store = RedisStore(settings.redis_url, settings.limit_redis_down, longest_s)
        self._closers.append(store.close)
        Gauge(
            "elastic_yolo_limit_redis_up",
            "1 while Redis counts the pictures of clients, 0 while it does not respond.",
            ("service",),
            registry=metrics.registry,
        ).labels(metrics.service).set_function(lambda: store.responds)
        return store

    def _build_identity(self, settings: WebSettings, guarded: tuple[str, ...]) -> Middleware:
        from services.web.identity.api_keys import ApiKeys  # noqa: PLC0415  # YAML
        from services.web.identity.gate import IdentityGate  # noqa: PLC0415

        keys = ApiKeys(settings.api_keys_file, settings.token)
        if settings.token:
            self._kinds.append("ACCESS_TOKEN")
        if settings.api_keys_file:
            self._kinds.append("API_KEYS_FILE")
            self._followers.append(keys.follow_file)
        tokens = self._build_verifier(settings) if settings.oidc_issuer else None
        return Middleware(IdentityGate, prefixes=guarded, keys=keys, tokens=tokens)

    def _build_verifier(self, settings: WebSettings) -> TokenVerifier:
        from services.web.identity.issuer_keys import IssuerKeys  # noqa: PLC0415  # 0.2 s
        from services.web.identity.tokens import TokenRules, TokenVerifier  # noqa: PLC0415

        issuer, audience = settings.oidc_issuer or "", settings.oidc_audience or ""
        rules = TokenRules(
            issuer=issuer,
            audience=audience,
            algorithms=tuple(settings.oidc_algorithms.split(",")),
            skew_s=settings.oidc_skew_s,
            client_claim=settings.oidc_client_claim,
            tenant_claim=settings.oidc_tenant_claim,
            models_claim=settings.oidc_models_claim,
        )
        issuer_keys = IssuerKeys(issuer, settings.oidc_stale_s)
        if not issuer.startswith("https://"):
            get_logger().warning(
                "OIDC_ISSUER is not https: whoever is between it and here can make valid tokens"
            )
        self._kinds.append("OIDC_ISSUER")
        self._followers.append(issuer_keys.follow)
        return TokenVerifier(rules, issuer_keys)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
