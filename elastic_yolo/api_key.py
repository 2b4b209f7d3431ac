"""API keys: how one is made, and the digest that is stored in its place."""

from __future__ import annotations

import hashlib
import secrets

# So that scanners for secrets, and people, recognise one.
_PREFIX = "ey_"
_BYTES = 32


def new_key() -> str:
    """Return a random key of 256 bits."""
    return _PREFIX + secrets.token_urlsafe(_BYTES)


def key_digest(key: str) -> str:
    """Return the SHA-256 of a key, 64 hex digits."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
