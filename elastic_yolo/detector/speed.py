"""Compare the speed of engines, also on a machine that does other work meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from itertools import islice

import numpy as np

from elastic_yolo.detector.boxes import Image
from elastic_yolo.detector.engines.base import Engine

_ROUNDS = 30
_PICTURES = 5


def measure_ms(
    engines: Mapping[str, Engine],
    images: Iterable[Image],
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Return the time of each engine for one picture, in milliseconds.

    The engines take turns, and the shortest run of each counts: whatever else the machine does
    makes a run longer, never shorter. `images` are (height, width, 3) uint8, at least one; some of
    them are used.
    """
    few = [image[np.newaxis] for image in islice(images, _PICTURES)]
    shortest = dict.fromkeys(engines, float("inf"))
    for number in range(_ROUNDS):
        for name, engine in engines.items():
            started = clock()
            engine.execute(few[number % len(few)])
            shortest[name] = min(shortest[name], (clock() - started) * 1000)
    return shortest
