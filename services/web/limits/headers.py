"""The headers `RateLimit-Policy` and `RateLimit`: draft-ietf-httpapi-ratelimit-headers-11.

Both are lists of structured fields (RFC 9651), with an item for each limit.
"""

from __future__ import annotations

import functools
import math

from services.common.request.identity import Limits
from services.web.limits.usage import DAY_S, Verdict, burst_of


@functools.lru_cache(maxsize=256)
def describe_policies(limits: Limits) -> str:
    """Return RateLimit-Policy: what each limit allows (q) in a window (w, seconds)."""
    items = []
    if limits.rate is not None:
        burst = burst_of(limits)
        # The time in which an empty bucket is full.
        items.append(f'"rate";q={burst};w={math.ceil(burst / limits.rate)}')
    if limits.concurrency is not None:
        items.append(f'"concurrency";q={limits.concurrency};qu="concurrent-requests"')
    if limits.daily is not None:
        items.append(f'"daily";q={limits.daily};w={DAY_S}')
    return ", ".join(items)


def describe_left(limits: Limits, verdict: Verdict) -> str:
    """Return RateLimit: what is left of each limit (r), and until when (t, seconds)."""
    items = []
    if limits.rate is not None:
        left = max(0, math.floor(verdict.tokens))
        # Until the bucket is full; if it is empty, until the next token.
        missing = (burst_of(limits) if left else 1) - verdict.tokens
        items.append(f'"rate";r={left};t={math.ceil(missing / limits.rate)}')
    if limits.concurrency is not None:
        items.append(f'"concurrency";r={max(0, limits.concurrency - verdict.in_progress)}')
    if limits.daily is not None:
        left = max(0, limits.daily - verdict.used_today)
        items.append(f'"daily";r={left};t={verdict.day_left_s}')
    return ", ".join(items)
