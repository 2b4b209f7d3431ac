"""Percentiles by nearest rank: the one definition of every p50, p95 and p99 that we report.

It lives beside the client because that folder runs on its own, with httpx alone; the load test and
the benchmarks import it from here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least `percent` of all values do not exceed.

    It is a value that was measured, as in locust's tables: numpy's method `inverted_cdf`. NaN if
    there are no values.
    """
    if not values:
        return math.nan
    rank = math.ceil(len(values) * percent / 100)
    return sorted(values)[max(0, rank - 1)]
