"""Bearer tokens of an OpenID Connect issuer: JSON Web Tokens (RFC 7519), checked with its keys."""

from __future__ import annotations

import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeGuard

import jwt

from services.common.request.errors import Unauthorized
from services.common.request.identity import Identity
from services.web.identity.issuer_keys import IssuerKeys

INVALID = "invalid_token"
# Those of large issuers, with hundreds of groups, have 8 KB.
_MAX_CHARACTERS = 16 * 1024
_MAX_NAME = 256
_MAX_MODELS = 1000
_HALF = re.compile("[\ud800-\udfff]")
# How long a checked token is not checked again, even if its key is withdrawn.
_REMEMBER_S = 60.0
_MOST_REMEMBERED = 4096

# What each error of PyJWT means for a caller; the first that fits.
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (jwt.ExpiredSignatureError, "the token has expired"),
    (jwt.ImmatureSignatureError, "the token is not valid yet"),
    (jwt.InvalidAudienceError, "the token is for another audience"),
    (jwt.InvalidIssuerError, "the token is of another issuer"),
    (jwt.InvalidSignatureError, "the token's signature is wrong"),
    (jwt.InvalidAlgorithmError, "the token's algorithm is not accepted"),
)


@dataclass(frozen=True)
class TokenRules:
    """What a token must say, and which of its claims are read."""

    issuer: str
    audience: str
    algorithms: tuple[str, ...]
    skew_s: float
    client_claim: str
    tenant_claim: str | None
    models_claim: str | None
    """None: every token may use all models. Otherwise a token without the claim may use none."""


class _Remembered(NamedTuple):
    identity: Identity
    until: float


class TokenVerifier:
    """Checks tokens, and remembers those that were valid for up to a minute."""

    def __init__(
        self, rules: TokenRules, keys: IssuerKeys, clock: Callable[[], float] = time.time
    ) -> None:
        """Check with the keys of one issuer; `clock` returns the seconds since 1970."""
        self._rules = rules
        self._keys = keys
        self._clock = clock
        self._remembered: OrderedDict[bytes, _Remembered] = OrderedDict()
        self._generation = 0

    async def identify(self, token: str) -> Identity:
        """Return the client of a token.

        Raises Unauthorized for an invalid token, and Unavailable if there are no keys to check it.
        """
        if len(token) > _MAX_CHARACTERS:
            raise Unauthorized(f"the token exceeds {_MAX_CHARACTERS:,} characters", INVALID)
        if self._generation != self._keys.generation:
            # A key may have been withdrawn.
            self._generation = self._keys.generation
            self._remembered.clear()
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        known = self._remembered.get(digest)
        if known is not None and self._clock() < known.until:
            return known.identity
        claims = await self._check(token)
        identity = self._read_identity(claims)
        self._remember(digest, identity, int(claims["exp"]))
        return identity

    async def _check(self, token: str) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
            algorithm = header.get("alg")
            # Before the key: neither `none` nor a shared secret is ever tried.
            if algorithm not in self._rules.algorithms:
                raise jwt.InvalidAlgorithmError
            found = await self._keys.find(header.get("kid"), algorithm)
            if found is None:
                raise Unauthorized("the token is signed with a key that is not known", INVALID)
            claims: dict[str, Any] = jwt.decode(
                token,
                found.key,
                algorithms=[algorithm],
                issuer=self._rules.issuer,
                audience=self._rules.audience,
                leeway=self._rules.skew_s,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.MissingRequiredClaimError as error:
            raise Unauthorized(f"the token has no claim {error.claim}", INVALID) from error
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            reasons = (reason for kind, reason in _REASONS if isinstance(error, kind))
            raise Unauthorized(next(reasons, "not a valid JSON Web Token"), INVALID) from error
        return claims

    def _read_identity(self, claims: dict[str, Any]) -> Identity:
        rules = self._rules
        client = _read_name(claims, rules.client_claim)
        tenant = client if rules.tenant_claim is None else _read_name(claims, rules.tenant_claim)
        models = None if rules.models_claim is None else _read_list(claims, rules.models_claim)
        return Identity("token", client, tenant, models)

    def _remember(self, digest: bytes, identity: Identity, expires: int) -> None:
        now = self._clock()
        self._remembered[digest] = _Remembered(identity, min(now + _REMEMBER_S, expires))
        self._remembered.move_to_end(digest)
        if len(self._remembered) > _MOST_REMEMBERED:
            self._remembered.popitem(last=False)


def _read_name(claims: dict[str, Any], claim: str) -> str:
    value = claims.get(claim)
    if value is None:
        raise Unauthorized(f"the token has no claim {claim}", INVALID)
    if not _is_text(value) or not 0 < len(value) <= _MAX_NAME:
        expected = f"expected a string of 1 to {_MAX_NAME} characters"
        raise Unauthorized(f"the token's claim {claim}: {expected}", INVALID)
    return value


def _read_list(claims: dict[str, Any], claim: str) -> tuple[str, ...]:
    """Return a claim that is a list of names, or text with blanks between them, like a scope."""
    value = claims.get(claim)
    if isinstance(value, str):
        value = value.split()
    if not isinstance(value, list):
        return ()
    return tuple(one for one in value[:_MAX_MODELS] if _is_text(one))


def _is_text(value: Any) -> TypeGuard[str]:
    """Return whether a value is text that can be sent: JSON may escape half a character."""
    return isinstance(value, str) and _HALF.search(value) is None
