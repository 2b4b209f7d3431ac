"""Measure what counting costs: CPU time a picture in each tier, and a scrape."""

from __future__ import annotations

# A scrape comes every so many seconds.
_SCRAPE_S = 15
_ROUNDS = 7
_PICTURES = 5000
_PHASES = {
    "web": (),
    "preprocess": ("decode_queue", "decode", "letterbox"),
    "inference": ("queue", "engine", "heads"),
}
