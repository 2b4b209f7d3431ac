"""An example of a model's own metrics: metrics.py in its folder, run with CUSTOM_METRICS=true."""

from __future__ import annotations

import time
from typing import Any

_started = time.monotonic()


def metrics(found: list[Any]) -> list[dict[str, Any]]:
    """Return the values to export for a picture.

    `found` has the picture's objects: [[label, score, [x, y, width, height]], ...], in pixels of
    the network's input.
    """
    people = [one for one in found if one[0] == "person"]
    return [
        {"type": "COUNTER", "key": "people", "value": len(people)},
        {"type": "GAUGE", "key": "crowd", "value": len(people), "tags": {"camera": "north"}},
        # In milliseconds.
        {"type": "TIMER", "key": "up", "value": (time.monotonic() - _started) * 1000},
    ]
