"""Tokens of a real OpenID Connect provider: each kind gets its answer, and none costs much."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.request.errors import Unauthorized, Unavailable
from services.web.identity.issuer_keys import IssuerKeys, fetch_keys, read_key
from services.web.identity.tokens import TokenRules, TokenVerifier
from tests.support.clock import Clock
from tests.support.token_issuer import (
    AUDIENCE,
    CLIENT,
    TokenIssuer,
    new_ec_key,
    new_rsa_key,
    sign,
    token_issuer,
)

pytestmark = pytest.mark.anyio

MOST_CPU_MS = 5.0
SKEW_S = 60


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenIssuer]:
    with token_issuer(tmp_path_factory.mktemp("issuer")) as running:
        yield running


def rules(issuer: str, **changed: str | None) -> TokenRules:
    claims = {"tenant_claim": None, "models_claim": None, **changed}
    return TokenRules(issuer, AUDIENCE, ("RS256", "ES256"), SKEW_S, "sub", **claims)


@asynccontextmanager
async def verifying(
    issuer: TokenIssuer, *, stale_s: float = 3600, clock: Clock | None = None, **changed: str | None
) -> AsyncIterator[TokenVerifier]:
    """A verifier that has the keys of the provider, if that runs."""
    keys = IssuerKeys(issuer.url, stale_s, clock or time.monotonic)
    verifier = TokenVerifier(rules(issuer.url, **changed), keys)
    async with anyio.create_task_group() as group:
        group.start_soon(keys.follow)
        with anyio.move_on_after(10):
            # There is no event to wait for.
            while keys.generation == 0 and issuer.process is not None:  # noqa: ASYNC110
                await anyio.sleep(0.01)
        yield verifier
        group.cancel_scope.cancel()


async def refusal(verifier: TokenVerifier, token: str) -> str:
    with pytest.raises(Unauthorized) as refused:
        await verifier.identify(token)
    assert refused.value.error == "invalid_token"
    return str(refused.value)


async def test_a_token_of_the_provider_names_client_tenant_and_models(issuer: TokenIssuer) -> None:
    async with verifying(issuer, tenant_claim="tenant", models_claim="models") as verifier:
        identity = await verifier.identify(issuer.issue())

    assert (identity.kind, identity.client) == ("token", CLIENT)
    assert (identity.tenant, identity.models) == ("street", ("tiny",))


async def test_without_these_claims_the_tenant_is_the_client_and_all_models_are_allowed(
    issuer: TokenIssuer,
) -> None:
    async with verifying(issuer) as verifier:
        identity = await verifier.identify(issuer.sign(kid="two"))

    assert (identity.tenant, identity.models) == (CLIENT, None)


@pytest.mark.parametrize(
    ("claim", "models"),
    [("a b", ("a", "b")), (["a", 7, "\ud800"], ("a",)), (None, ()), ({"a": 1}, ())],
)
async def test_a_token_without_a_list_of_models_may_use_none(
    issuer: TokenIssuer, claim: object, models: tuple[str, ...]
) -> None:
    async with verifying(issuer, models_claim="models") as verifier:
        assert (await verifier.identify(issuer.sign({"models": claim}))).models == models


def unsigned(issuer: TokenIssuer) -> str:
    _, claims, _ = issuer.sign().split(".")
    none = _encode(json.dumps({"alg": "none", "typ": "JWT"}).encode())
    return f"{none}.{claims}."


def signed_with_the_public_key_as_secret(issuer: TokenIssuer) -> str:
    """What a library accepts that lets the token choose between RS256 and HS256."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415

    public = issuer.keys["one"].public_key()
    secret = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head = _encode(json.dumps({"alg": "HS256", "kid": "one"}).encode())
    signed = f"{head}.{_encode(json.dumps(issuer.claims()).encode())}"
    return f"{signed}.{_encode(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def with_another_algorithm_in_the_header(issuer: TokenIssuer) -> str:
    _, claims, signature = issuer.sign().split(".")
    return f"{_encode(json.dumps({'alg': 'ES256', 'kid': 'one'}).encode())}.{claims}.{signature}"


Make = Callable[[TokenIssuer], str]
INVALID: dict[str, tuple[Make, str]] = {
    "expired": (
        lambda issuer: issuer.sign({"exp": int(time.time()) - SKEW_S - 5}),
        "the token has expired",
    ),
    "not yet valid": (
        lambda issuer: issuer.sign({"nbf": int(time.time()) + SKEW_S + 60}),
        "the token is not valid yet",
    ),
    "of the future": (
        lambda issuer: issuer.sign({"iat": int(time.time()) + SKEW_S + 60}),
        "the token is not valid yet",
    ),
    "wrong audience": (
        lambda issuer: issuer.sign({"aud": "another"}),
        "the token is for another audience",
    ),
    "wrong issuer": (
        lambda issuer: issuer.sign({"iss": "http://another"}),
        "the token is of another issuer",
    ),
    "no audience": (lambda issuer: issuer.sign({"aud": None}), "the token has no claim aud"),
    "no expiry": (lambda issuer: issuer.sign({"exp": None}), "the token has no claim exp"),
    "no subject": (
        lambda issuer: issuer.sign({"sub": None}),
        "the token has no claim sub",
    ),
    "a long subject": (
        lambda issuer: issuer.sign({"sub": "x" * 257}),
        "the token's claim sub: expected a string of 1 to 256 characters",
    ),
    "half a character": (
        lambda issuer: issuer.sign({"sub": "camera \ud800"}),
        "the token's claim sub: expected a string of 1 to 256 characters",
    ),
    "alg none": (unsigned, "the token's algorithm is not accepted"),
    "HS256 with the public key": (
        signed_with_the_public_key_as_secret,
        "the token's algorithm is not accepted",
    ),
    "another algorithm than the key's": (
        with_another_algorithm_in_the_header,
        "the token is signed with a key that is not known",
    ),
    "unknown kid": (
        lambda issuer: _of_another_key(issuer, "other"),
        "the token is signed with a key that is not known",
    ),
    "known kid, another key": (
        lambda issuer: _of_another_key(issuer, "one"),
        "the token's signature is wrong",
    ),
    "a cut signature": (
        lambda issuer: issuer.sign()[:-40] + "A" * 40,
        "the token's signature is wrong",
    ),
    "too long": (
        lambda issuer: issuer.sign({"padding": "x" * 20_000}),
        "the token exceeds 16,384 characters",
    ),
    "1 MB": (lambda _: "x" * 1_000_000, "the token exceeds 16,384 characters"),
    "garbage": (lambda _: "garbage", "not a valid JSON Web Token"),
    "dots": (lambda _: "." * 16_000, "not a valid JSON Web Token"),
    "deep JSON": (
        lambda _: _encode(b"[" * 12_000) + ".e30.e30",
        "not a valid JSON Web Token",
    ),
    "long numbers": (
        lambda _: _encode(b'{"alg":' + b"9" * 12_000 + b"}") + ".e30.e30",
        "not a valid JSON Web Token",
    ),
    "critical extensions": (
        lambda issuer: issuer.sign(crit=["exp"]),
        "not a valid JSON Web Token",
    ),
}
# Made once, so that a process signs with one foreign key.
_FOREIGN = new_rsa_key()


def _of_another_key(issuer: TokenIssuer, kid: str) -> str:
    return sign(issuer.claims(), _FOREIGN, {"kid": kid})


@pytest.mark.parametrize("kind", INVALID)
async def test_an_invalid_token_is_refused_with_the_reason(issuer: TokenIssuer, kind: str) -> None:
    make, reason = INVALID[kind]
    async with verifying(issuer) as verifier:
        assert await refusal(verifier, make(issuer)) == reason


@pytest.mark.parametrize("kind", INVALID)
async def test_an_invalid_token_costs_less_than_5_ms_of_cpu(issuer: TokenIssuer, kind: str) -> None:
    token = INVALID[kind][0](issuer)
    costs = []
    async with verifying(issuer) as verifier:
        for _ in range(15):
            started = time.process_time()
            with suppress(Unauthorized):
                await verifier.identify(token)
            costs.append((time.process_time() - started) * 1000)

    assert statistics.median(costs) < MOST_CPU_MS


async def test_a_token_that_was_valid_is_not_checked_again(issuer: TokenIssuer) -> None:
    token = issuer.sign()
    async with verifying(issuer) as verifier:
        first = await verifier.identify(token)
        started = time.process_time()
        for _ in range(200):
            assert await verifier.identify(token) is first
        cost_us = (time.process_time() - started) / 200 * 1e6

    assert cost_us < 500  # 4 on an idle machine; a check takes 80


async def test_a_token_that_expires_after_all_floats_is_accepted(issuer: TokenIssuer) -> None:
    async with verifying(issuer) as verifier:
        assert (await verifier.identify(issuer.sign({"exp": 10**400}))).client == CLIENT


async def test_a_token_within_the_clock_skew_is_accepted(issuer: TokenIssuer) -> None:
    now = int(time.time())
    async with verifying(issuer) as verifier:
        await verifier.identify(issuer.sign({"exp": now - SKEW_S // 2}))
        await verifier.identify(issuer.sign({"nbf": now + SKEW_S // 2}))


@given(st.one_of(st.text(max_size=200), st.from_regex(r"[\w-]{0,40}\.[\w-]{0,80}\.[\w-]{0,40}")))
def test_whatever_is_sent_as_a_token_is_refused(text: str) -> None:
    """Never another exception, which would be a 500."""

    async def check() -> None:
        keys = IssuerKeys("http://127.0.0.1:1", 3600)
        verifier = TokenVerifier(rules("http://127.0.0.1:1"), keys)
        with pytest.raises((Unauthorized, Unavailable)):
            await verifier.identify(text)

    anyio.run(check)


async def test_a_new_key_is_fetched_when_a_token_names_it(tmp_path: Path) -> None:
    clock = Clock()
    with token_issuer(tmp_path) as issuer:
        async with verifying(issuer, clock=clock) as verifier:
            old = issuer.sign()
            await verifier.identify(old)
            issuer.restart({"new": new_ec_key()})
            new = issuer.sign(kid="new")
            # The keys were fetched a moment ago.
            assert "not known" in await refusal(verifier, new)
            clock.now += 10
            assert (await verifier.identify(new)).client == CLIENT

            # Its key is withdrawn, so what was remembered does not count.
            assert "not known" in await refusal(verifier, old)


async def test_unknown_keys_cause_one_fetch_in_ten_seconds(tmp_path: Path) -> None:
    clock = Clock()
    with token_issuer(tmp_path) as issuer:
        async with verifying(issuer, clock=clock) as verifier:
            issuer.stop()
            for number in range(50):
                await refusal(verifier, _of_another_key(issuer, f"invented-{number}"))
            clock.now += 10
            started = time.process_time()
            for number in range(50):
                await refusal(verifier, _of_another_key(issuer, f"again-{number}"))

            assert await verifier.identify(issuer.sign())
            assert time.process_time() - started < 50 * MOST_CPU_MS / 1000


async def test_known_keys_outlast_the_issuer_for_a_bounded_time(tmp_path: Path) -> None:
    clock = Clock()
    with token_issuer(tmp_path) as issuer:
        async with verifying(issuer, stale_s=3600, clock=clock) as verifier:
            issuer.stop()
            clock.now += 3599
            assert (await verifier.identify(issuer.sign())).client == CLIENT
            clock.now += 2
            with pytest.raises(Unavailable):
                await verifier.identify(issuer.sign({"jti": "another"}))


async def test_without_keys_a_token_is_neither_valid_nor_invalid(tmp_path: Path) -> None:
    with token_issuer(tmp_path) as issuer:
        issuer.stop()
        async with verifying(issuer) as verifier:
            with pytest.raises(Unavailable) as unavailable:
                await verifier.identify(issuer.sign())
            assert str(unavailable.value) == (
                "tokens cannot be checked: the issuer's keys could not be fetched"
            )
            issuer.start()
            with anyio.fail_after(60):
                while True:
                    with suppress(Unavailable):
                        identity = await verifier.identify(issuer.sign())
                        break
                    await anyio.sleep(0.05)

    assert identity.client == CLIENT


async def test_an_issuer_is_asked_again_after_an_address_that_breaks_the_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A port of 99999 raises a group of errors that httpx does not know."""
    asked = 0

    def respond(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        if request.url.port == 99_999:
            raise ExceptionGroup("connect", [OverflowError("port must be 0-65535")])
        asked += 1
        found = {"issuer": "http://issuer", "jwks_uri": "http://issuer:99999/jwks"}
        return httpx.Response(200, json=found)

    keys = IssuerKeys("http://issuer", 3600)
    monkeypatch.setattr(keys, "_client", httpx.AsyncClient(transport=httpx.MockTransport(respond)))
    async with anyio.create_task_group() as group:
        group.start_soon(keys.follow)
        with anyio.fail_after(20):
            while asked < 2:  # noqa: ASYNC110  # there is no event to wait for
                await anyio.sleep(0.05)
        with pytest.raises(Unavailable):
            await keys.find("one", "RS256")
        group.cancel_scope.cancel()


async def test_keys_that_are_not_safe_are_left_out(issuer: TokenIssuer) -> None:
    async with httpx.AsyncClient() as client:
        stated = (await client.get(f"{issuer.url}/jwks")).json()["keys"]
        keys = await fetch_keys(client, issuer.url)

    assert [(key.kid, sorted(key.algorithms)) for key in keys] == [
        ("one", ["RS256"]),
        ("two", ["ES256"]),
    ]
    one = stated[0]
    unstated = {name: value for name, value in one.items() if name != "alg"}
    found = read_key(unstated)
    assert found is not None
    assert "PS512" in found.algorithms
    for unsafe in (
        {**one, "d": "AQAB"},
        {**one, "use": "enc"},
        {**one, "alg": "HS256"},
        {**one, "alg": ["RS256"]},
        {**one, "kty": "oct", "k": "AAAA"},
        {**one, "n": "AQAB"},
        {**one, "kid": 7},
        {"kty": ["RSA"]},
        {"kty": "EC", "crv": ["P-256"]},
        "a key",
        None,
    ):
        assert read_key(unsafe) is None, unsafe
