"""How long a caller is willing to wait, as it shrinks on its way through the tiers."""

from __future__ import annotations

import time
from dataclasses import dataclass

from services.common.request.errors import DeadlineExceeded, MalformedRequest

HEADER = "x-timeout-ms"


@dataclass(frozen=True)
class Deadline:
    """A moment on this process's monotonic clock, in seconds."""

    at_s: float

    @classmethod
    def after_ms(cls, budget_ms: float) -> Deadline:
        """Return the deadline that lies `budget_ms` milliseconds from now."""
        return cls(time.monotonic() + budget_ms / 1000)

    @classmethod
    def from_header(cls, value: str | None, longest_ms: int) -> Deadline:
        """Read X-Timeout-Ms; without it, or above it, `longest_ms` holds.

        Raises MalformedRequest for anything but a number of milliseconds.
        """
        if value is None:
            return cls.after_ms(longest_ms)
        if not (value.isascii() and value.isdigit() and len(value) <= 12):
            raise MalformedRequest(
                f"X-Timeout-Ms: expected a whole number of milliseconds, found {value[:40]!r}"
            )
        return cls.after_ms(min(int(value), longest_ms))

    @property
    def left_s(self) -> float:
        """The seconds left; not above 0 once the time is up."""
        return self.at_s - time.monotonic()

    def remaining_s(self) -> float:
        """Return the seconds left; raises DeadlineExceeded when there are none."""
        left = self.left_s
        if left <= 0:
            raise DeadlineExceeded("the time for this request is up")
        return left

    def to_header(self) -> dict[str, str]:
        """Return the header that hands the remaining budget to the next tier."""
        return {HEADER: str(max(1, int(self.remaining_s() * 1000)))}
