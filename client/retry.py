"""How long an answer asks its caller to wait before the next attempt."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

_COME_BACK_LATER = frozenset(
    {httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE},
)


def wanted_wait_s(response: httpx.Response) -> float | None:
    """Return the seconds that a 429 or 503 asks for; None for any answer that asks for none.

    `Retry-After` is a number of seconds or, from some proxies, a date (RFC 9110, section 10.2.3).
    """
    value = response.headers.get("Retry-After", "").strip()
    if response.status_code not in _COME_BACK_LATER or not value:
        return None
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    # A date without a zone is one in UTC, as all dates of HTTP are.
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.now(UTC)).total_seconds())
