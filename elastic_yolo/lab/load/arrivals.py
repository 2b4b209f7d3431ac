"""How many pictures come a second, as time goes by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Shape = Literal["step", "ramp", "spike", "wave", "constant", "none"]
_WAVES = 3


@dataclass(frozen=True)
class Arrivals:
    """Rates in pictures a second, between a low and a high one."""

    shape: Shape
    low: float
    high: float
    duration_s: float

    def rate(self, at_s: float) -> float:
        """Return the rate so many seconds after the beginning; 0 outside of the duration."""
        if self.shape == "none" or not 0 <= at_s < self.duration_s:
            return 0.0
        return self.low + (self.high - self.low) * self._height(at_s / self.duration_s)

    def _height(self, part: float) -> float:
        """Return where between low (0) and high (1) a part of the duration lies."""
        match self.shape:
            case "step":
                return float(1 / 12 <= part < 1 / 2)
            case "spike":
                return float(1 / 6 <= part < 1 / 6 + 1 / 10)
            case "ramp":
                # Up until the middle, down in half that time, then low.
                return max(0.0, min(part / 0.5, (0.75 - part) / 0.25))
            case "wave":
                return (1 - math.cos(2 * math.pi * _WAVES * part)) / 2
            case _:
                return 1.0
