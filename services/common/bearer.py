"""Tokens that callers show in `Authorization: Bearer ...` (RFC 6750)."""

from __future__ import annotations

import hmac

from pydantic import SecretStr

from services.common.errors import NotAllowed


def require_bearer(authorization: str, token: SecretStr, what: str) -> None:
    """Raise NotAllowed unless the header shows the token; `what` is what it is needed for."""
    expected = f"Bearer {token.get_secret_value()}"
    # In a time that tells nothing of how much was right.
    if not hmac.compare_digest(authorization.encode(), expected.encode()):
        raise NotAllowed(f"{what} needs a token: Authorization: Bearer ...")
