"""The public keys of an OpenID Connect issuer: found by discovery, refreshed, and kept for a time.

Sources: OpenID Connect Discovery 1.0, section 4; RFC 7517 (JSON Web Key Set).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any, NamedTuple

import httpx
import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from elastic_yolo.backoff import Backoff
from services.common.observe.logs import get_logger
from services.common.request.errors import Unavailable
from services.web.identity.algorithms import OF_KEY

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey | Ed448PublicKey

_DISCOVERY = "/.well-known/openid-configuration"
_REFRESH_S = 300.0
# Tokens with an unknown key cause requests to the issuer at most this often, whoever sends them.
_LEAST_PAUSE_S = 10.0
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
_FETCH_S = 5.0
_MAX_BYTES = 1_000_000
_MAX_KEYS = 100
_LEAST_RSA_BITS = 2048


class IssuerKey(NamedTuple):
    """A public key, and the algorithms for which it is meant."""

    kid: str | None
    algorithms: frozenset[str]
    key: PublicKey


class FetchFailed(Exception):
    """The issuer's keys could not be fetched; the message says why."""


class IssuerKeys:
    """The keys of one issuer; while it cannot be reached, the known ones stay for `stale_s`."""

    def __init__(
        self, issuer: str, stale_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Know no key until `follow` has fetched them."""
        self._issuer = issuer
        self._stale_s = stale_s
        # Keys must not become stale between two refreshes.
        self._refresh_s = min(_REFRESH_S, stale_s / 2)
        self._clock = clock
        self._client = httpx.AsyncClient(timeout=_FETCH_S)
        self._keys: tuple[IssuerKey, ...] = ()
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._next_at = clock()
        self._running: asyncio.Task[bool] | None = None
        self._failure = ""
        self.generation = 0
        """Another number once the keys are others."""

    async def find(self, kid: str | None, algorithm: str) -> IssuerKey | None:
        """Return the key with this id; without an id, the only one for the algorithm.

        An unknown id makes it ask the issuer again, unless it has just done so. Raises Unavailable
        if it has no keys, or none that are recent enough.
        """
        self._require_keys()
        found = self._match(kid, algorithm)
        if found is None and self._may_refresh():
            await self._refresh()
            found = self._match(kid, algorithm)
        return found

    async def follow(self) -> None:
        """Fetch the keys now and again, until cancelled."""
        backoff = Backoff(_FIRST_PAUSE_S, min(_LONGEST_PAUSE_S, self._refresh_s))
        try:
            while True:
                if await self._refresh():
                    backoff.reset()
                    pause_s = self._refresh_s
                else:
                    pause_s = backoff.next_s()
                self._next_at = self._clock() + pause_s
                await asyncio.sleep(pause_s)
        finally:
            if self._running is not None:
                self._running.cancel()
            await self._client.aclose()

    def _require_keys(self) -> None:
        now = self._clock()
        if self._fetched_at is None or now - self._fetched_at > self._stale_s:
            raise Unavailable(
                "tokens cannot be checked: the issuer's keys could not be fetched",
                self._next_at - now,
            )

    def _match(self, kid: str | None, algorithm: str) -> IssuerKey | None:
        fitting = [one for one in self._keys if algorithm in one.algorithms]
        if kid is None:
            return fitting[0] if len(fitting) == 1 else None
        return next((one for one in fitting if one.kid == kid), None)

    def _may_refresh(self) -> bool:
        if self._running is not None or self._tried_at is None:
            return True
        return self._clock() - self._tried_at >= _LEAST_PAUSE_S

    async def _refresh(self) -> bool:
        """Fetch the keys, once for all who wait for them; return whether it succeeded."""
        if self._running is None:
            self._tried_at = self._clock()
            self._running = asyncio.create_task(self._fetch_and_store())
        # A caller that leaves must not cancel it for the others.
        return await asyncio.shield(self._running)

    async def _fetch_and_store(self) -> bool:
        try:
            async with asyncio.timeout(_FETCH_S):
                keys = await fetch_keys(self._client, self._issuer)
        except Exception as error:  # noqa: BLE001  # whatever it sends, it is asked again
            reason = _describe(error)
            if reason != self._failure:
                self._failure = reason
                get_logger().warning("OIDC_ISSUER: the keys cannot be fetched", reason=reason)
            return False
        else:
            self._fetched_at = self._clock()
            if keys != self._keys or self._failure:
                self._keys = keys
                self._failure = ""
                self.generation += 1
                get_logger().info("OIDC_ISSUER: keys fetched", keys=len(keys))
            return True
        finally:
            self._running = None


def _describe(error: Exception) -> str:
    match error:
        case FetchFailed():
            return str(error)
        case TimeoutError():
            return f"no response within {_FETCH_S:g} s"
        case _:
            return f"unexpected error: {type(error).__name__}"


async def fetch_keys(client: httpx.AsyncClient, issuer: str) -> tuple[IssuerKey, ...]:
    """Return the usable keys that the issuer publishes; raises FetchFailed."""
    found = await _get_json(client, issuer.rstrip("/") + _DISCOVERY)
    name = found.get("issuer")
    if name != issuer:
        raise FetchFailed(f"the discovery document states the issuer {name!r}, not {issuer!r}")
    url = found.get("jwks_uri")
    if not isinstance(url, str) or not url.startswith(("https://", issuer.partition("//")[0])):
        raise FetchFailed("the discovery document has no valid jwks_uri")
    stated = (await _get_json(client, url)).get("keys")
    if not isinstance(stated, list):
        raise FetchFailed("the key set has no list of keys")
    keys = tuple(key for one in stated[:_MAX_KEYS] if (key := read_key(one)) is not None)
    if not keys:
        raise FetchFailed("the key set has no key that can check signatures")
    return keys


async def _get_json(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    body = bytearray()
    try:
        async with client.stream("GET", url) as response:
            if response.status_code != HTTPStatus.OK:
                raise FetchFailed(f"{url}: status {response.status_code}")
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > _MAX_BYTES:
                    raise FetchFailed(f"{url}: more than {_MAX_BYTES:,} bytes")
        parsed = orjson.loads(body)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise FetchFailed(f"{url}: {error or type(error).__name__}") from error
    except ValueError as error:
        raise FetchFailed(f"{url}: not JSON") from error
    if not isinstance(parsed, dict):
        raise FetchFailed(f"{url}: not a JSON object")
    return parsed


def read_key(stated: Any) -> IssuerKey | None:
    """Return a JSON Web Key, or None for one that is not meant for signatures, or not safe."""
    # With `d`, anyone could sign with it.
    if not isinstance(stated, dict) or "d" in stated or stated.get("use", "sig") != "sig":
        return None
    kind, curve = stated.get("kty"), stated.get("crv")
    if not isinstance(kind, str) or not isinstance(curve, str | None):
        return None
    algorithms = OF_KEY.get((kind, curve), frozenset())
    if "alg" in stated:
        algorithms &= {stated["alg"]} if isinstance(stated["alg"], str) else set()
    kid = stated.get("kid")
    if not algorithms or not isinstance(kid, str | None):
        return None
    key: Any = None
    with suppress(jwt.PyJWTError, ValueError, TypeError):
        key = jwt.PyJWK(stated, min(algorithms)).key
    if not isinstance(key, PublicKey):
        return None
    if isinstance(key, RSAPublicKey) and key.key_size < _LEAST_RSA_BITS:
        return None
    return IssuerKey(kid, algorithms, key)
