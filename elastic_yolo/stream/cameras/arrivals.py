"""When the frames of a camera were taken, by this machine's clock."""

from __future__ import annotations

import math

# More than the clock of a camera drifts against ours.
_DRIFT = 0.001


class Arrivals:
    """Estimates when frames were taken from their timestamps and from when they were read.

    A frame that was read late, because the network or this process was busy, is older than its
    arrival says. The camera's timestamps tell by how much: the frame that came with the least delay
    shows what the two clocks differ by. The delay of that one frame stays unknown.
    """

    def __init__(self) -> None:
        """Begin without knowledge of the camera's clock."""
        self._difference = math.inf
        self._read_at = 0.0

    def taken_at(self, timestamp: float | None, read_at: float) -> float:
        """Return when a frame was taken, in seconds since 1970, at most `read_at`.

        `timestamp` is the frame's, in seconds of the camera's clock; None if it has none.
        """
        if timestamp is None:
            return read_at
        # A jump of our own clock is no drift.
        drifted = self._difference + _DRIFT * max(0.0, read_at - self._read_at)
        self._difference = min(read_at - timestamp, drifted)
        self._read_at = read_at
        return timestamp + self._difference

    def begin_again(self) -> None:
        """Forget the camera's clock: it was set."""
        self._difference = math.inf
