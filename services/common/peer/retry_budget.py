"""Bounds the retries that a service adds to its traffic, so that an outage causes no storm."""

from __future__ import annotations

_PER_REQUEST = 0.2
_CAPACITY = 100.0


class RetryBudget:
    """A token bucket: each request adds a fifth of a retry, up to 100; each retry takes one."""

    def __init__(self) -> None:
        """Begin full."""
        self._tokens = _CAPACITY

    def deposit(self) -> None:
        """Count a request."""
        self._tokens = min(_CAPACITY, self._tokens + _PER_REQUEST)

    def withdraw(self) -> bool:
        """Take one retry from the budget; return False if less than one is left."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
