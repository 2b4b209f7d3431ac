"""Shapes of load: the rate of pictures over time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Shape = Literal["step", "ramp", "spike", "wave", "constant", "night", "none"]
_WAVES = 3


@dataclass(frozen=True)
class Arrivals:
    """A load whose rate varies between `low` and `high` pictures per second.

    A `night` has no pictures at all, before and after.
    """

    shape: Shape
    low: float
    high: float
    duration_s: float

    def rate(self, at_s: float) -> float:
        """Return the rate `at_s` seconds after the start; 0 outside of the duration."""
        if self.shape == "none" or not 0 <= at_s < self.duration_s:
            return 0.0
        low = 0.0 if self.shape == "night" else self.low
        return low + (self.high - low) * self._height(at_s / self.duration_s)

    def _height(self, part: float) -> float:
        """Return the rate at a fraction of the duration, from 0 (low) to 1 (high)."""
        match self.shape:
            case "step":
                return float(1 / 12 <= part < 1 / 2)
            case "night":
                return float(1 / 12 <= part < 1 / 4)
            case "spike":
                return float(1 / 6 <= part < 1 / 6 + 1 / 10)
            case "ramp":
                # Up until the middle, down within the next quarter, then low.
                return max(0.0, min(part / 0.5, (0.75 - part) / 0.25))
            case "wave":
                return (1 - math.cos(2 * math.pi * _WAVES * part)) / 2
            case _:
                return 1.0
