"""How many retries a service may add to its traffic: so few that they cannot become a storm."""

from __future__ import annotations

_PER_REQUEST = 0.2
_CAPACITY = 100.0


class RetryBudget:
    """Each request pays in a fifth of a retry; up to a hundred are saved for a bad moment."""

    def __init__(self) -> None:
        """Begin with all that can be saved."""
        self._saved = _CAPACITY

    def pay_in(self) -> None:
        """Count a request."""
        self._saved = min(_CAPACITY, self._saved + _PER_REQUEST)

    def take(self) -> bool:
        """Return whether one more retry is affordable, and count it."""
        if self._saved < 1:
            return False
        self._saved -= 1
        return True
