"""A detection: what the detector returns, the client receives, and files of results hold."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Detection:
    """One object: label, score, and (centre x, centre y, width, height) in picture pixels."""

    label: str
    score: float
    box: tuple[float, float, float, float]
