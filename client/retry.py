"""The wait before the next attempt, from a response's Retry-After."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

_RETRYABLE = frozenset(
    {httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE},
)


def retry_after_s(response: httpx.Response) -> float | None:
    """Return the seconds of a 429's or 503's Retry-After; None for other responses.

    `Retry-After` is a number of seconds or, from some proxies, a date (RFC 9110, section 10.2.3).
    """
    value = response.headers.get("Retry-After", "").strip()
    if response.status_code not in _RETRYABLE or not value:
        return None
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    # Dates of HTTP are in UTC; one without a zone is taken as UTC.
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.now(UTC)).total_seconds())
