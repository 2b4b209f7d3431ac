"""A real OpenID Connect provider: npm's oidc-provider, with keys that the tests sign with too."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from elastic_yolo.lab.processes.stack import LOOPBACK, ROOT, free_port
from tests.support.waiting import wait_until

_MODULES = ROOT / ".venv-issuer"
_PROGRAM = Path(__file__).parent / "issuer" / "issuer.mjs"
AUDIENCE = "urn:elastic-yolo"
CLIENT, SECRET = "camera-7", "the secret of camera 7"

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def new_rsa_key() -> rsa.RSAPrivateKey:
    """Return a key for RS256."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def new_ec_key() -> ec.EllipticCurvePrivateKey:
    """Return a key for ES256."""
    return ec.generate_private_key(ec.SECP256R1())


@dataclass
class TokenIssuer:
    """The provider as a process, and its private keys by their ids."""

    folder: Path
    port: int = field(default_factory=free_port)
    keys: dict[str, PrivateKey] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The issuer's name, which is its address."""
        return f"http://{LOOPBACK}:{self.port}"

    def start(self) -> None:
        """Start with the present keys, the first of which signs, and wait until it responds."""
        path = self.folder / "jwks.json"
        path.write_text(json.dumps({"keys": [_as_jwk(*item) for item in self.keys.items()]}))
        with (self.folder / "issuer.log").open("ab") as log:
            self.process = subprocess.Popen(
                [_node(), str(_PROGRAM), str(self.port), str(path)],
                stdout=log,
                stderr=log,
            )
        wait_until(self._responds, "the issuer responds")

    def stop(self) -> None:
        """End the process: its address refuses connections."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart(self, keys: Mapping[str, PrivateKey]) -> None:
        """Replace the keys, as a rotation does."""
        self.stop()
        self.keys = dict(keys)
        self.start()

    def issue(self) -> str:
        """Return a token that the provider itself has made."""
        response = httpx.post(
            f"{self.url}/token",
            data={"grant_type": "client_credentials", "resource": AUDIENCE},
            auth=(CLIENT, SECRET.replace(" ", "%20")),
        )
        assert response.status_code == 200, response.text
        return str(response.json()["access_token"])

    def sign(
        self, claims: Mapping[str, Any] | None = None, *, kid: str = "one", **header: Any
    ) -> str:
        """Return a token with the provider's key `kid`; `claims` change the usual ones.

        A claim of None is left out.
        """
        key = self.keys[kid]
        return sign(self.claims(claims), key, {"kid": kid, **header})

    def claims(self, changed: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the claims of a valid token, with changes."""
        now = int(time.time())
        usual = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": CLIENT,
            "iat": now,
            "exp": now + 600,
        }
        found = {**usual, **(changed or {})}
        return {name: value for name, value in found.items() if value is not None}

    def _responds(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "issuer.log").read_text()
        try:
            return httpx.get(f"{self.url}/jwks").status_code == 200
        except httpx.TransportError:
            return False


def sign(claims: Mapping[str, Any], key: PrivateKey, header: Mapping[str, Any]) -> str:
    """Return a token with this signature."""
    algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
    return jwt.encode(dict(claims), key, algorithm=algorithm, headers=dict(header))


def _as_jwk(kid: str, key: PrivateKey) -> dict[str, Any]:
    kind = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    stated = kind.to_jwk(key, as_dict=True)  # type: ignore[arg-type]
    stated.pop("key_ops", None)
    algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
    return {**stated, "kid": kid, "use": "sig", "alg": algorithm}


def _node() -> str:
    """Return Node's path; skips the test if it or the provider is not installed."""
    node = shutil.which("node")
    if node is None or not (_MODULES / "node_modules").is_dir():
        pytest.skip("needs an OpenID Connect provider, which `make issuer` installs")
    return node


@contextmanager
def token_issuer(
    folder: Path, keys: Mapping[str, PrivateKey] | None = None
) -> Iterator[TokenIssuer]:
    """Run a provider until the block ends; with keys `one` (RSA) and `two` (EC) by default."""
    folder.mkdir(parents=True, exist_ok=True)
    issuer = TokenIssuer(folder, keys=dict(keys or {"one": new_rsa_key(), "two": new_ec_key()}))
    try:
        issuer.start()
        yield issuer
    finally:
        issuer.stop()
