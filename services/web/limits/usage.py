"""What one client has used of its limits, and whether one more picture fits. Owns no clock.

The rate is a token bucket: it holds `burst` tokens, a picture takes one, and `rate` tokens a second
come back. `redis_store.py` has the same arithmetic in Lua.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from services.common.request.identity import Limits

DAY_S = 86_400
SET_BACK_S = 3600.0
"""A clock that is set back by more was wrong: nobody waits until it is that time again."""

Reason = Literal["rate_limit", "concurrency_limit", "daily_limit"]


def burst_of(limits: Limits) -> int:
    """Return how many tokens the bucket holds: by default those of one second."""
    return limits.burst or max(1, math.ceil(limits.rate or 0))


@dataclass(frozen=True)
class Verdict:
    """Whether a picture is let in, and what is left after it."""

    refusal: Reason | None
    """The limit that is reached; None if the picture is let in."""
    tokens: float
    """In the bucket."""
    in_progress: int
    used_today: int
    day_left_s: int
    """Seconds until midnight UTC."""

    def retry_after_s(self, limits: Limits) -> int:
        """Return when a picture may be let in: a slot may be free any moment."""
        if self.refusal == "daily_limit":
            return self.day_left_s
        if self.refusal == "rate_limit" and limits.rate:
            return max(1, math.ceil((1 - self.tokens) / limits.rate))
        return 1


@dataclass
class Usage:
    """The usage of one client. Times are seconds since 1970."""

    tokens: float = math.inf
    """At `at`; a new client's bucket is full."""
    at: float = 0.0
    in_progress: int = 0
    day: int = 0
    used_today: int = 0

    def take(self, limits: Limits, now: float) -> Verdict:
        """Count a picture, unless a limit is reached: then nothing is counted."""
        self._advance(limits, now)
        refusal: Reason | None = None
        if limits.concurrency is not None and self.in_progress >= limits.concurrency:
            refusal = "concurrency_limit"
        elif limits.daily is not None and self.used_today >= limits.daily:
            refusal = "daily_limit"
        elif limits.rate is not None and self.tokens < 1:
            refusal = "rate_limit"
        else:
            self.in_progress += 1
            self.used_today += 1
            self.tokens -= 1 if limits.rate is not None else 0
        day_left_s = math.ceil((self.day + 1) * DAY_S - now)
        return Verdict(refusal, self.tokens, self.in_progress, self.used_today, day_left_s)

    def is_as_new(self, limits: Limits, now: float) -> bool:
        """Return whether the client's next picture would be treated as its first."""
        self._advance(limits, now)
        used = limits.daily is not None and self.used_today > 0
        return self.in_progress == 0 and not used and self.tokens >= burst_of(limits)

    def _advance(self, limits: Limits, now: float) -> None:
        if self.at - now > SET_BACK_S:
            self.at = now
        # A clock that is set back by less takes no tokens.
        spent = max(0.0, now - self.at)
        self.at = max(self.at, now)
        self.tokens = min(float(burst_of(limits)), self.tokens + spent * (limits.rate or 0))
        day = int(now // DAY_S)
        # Back by more than a day: the clock was wrong before.
        if day > self.day or day < self.day - 1:
            self.day, self.used_today = day, 0
