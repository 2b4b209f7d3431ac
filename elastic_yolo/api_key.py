"""API keys: how one is made, and the digest that is stored in its place."""

from __future__ import annotations

import hashlib
import re
import secrets

CLIENT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")
"""The names of clients and tenants."""
CLIENT_NAME_RULE = "1 to 63 letters, digits, '.', '_', '@' and '-', the first a letter or a digit"
"""What CLIENT_NAME accepts, in words, behind "expected"."""
ACCESS_TOKEN_CLIENT = "access-token"  # noqa: S105
"""The client of ACCESS_TOKEN, which has no entry in a file of keys."""

# So that scanners for secrets, and people, recognise one.
_PREFIX = "ey_"
_BYTES = 32


def new_key() -> str:
    """Return a random key of 256 bits."""
    return _PREFIX + secrets.token_urlsafe(_BYTES)


def key_digest(key: str) -> str:
    """Return the SHA-256 of a key, 64 hex digits."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
