"""The one definition of a percentile."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.percentile import percentile

TIMES = st.lists(st.floats(0, 1e6), min_size=1, max_size=300)


@given(TIMES, st.sampled_from([0, 25, 50, 75, 90, 95, 99, 99.9, 100]))
def test_percentiles_are_those_of_numpys_inverted_cdf(times: list[float], percent: float) -> None:
    assert percentile(times, percent) == np.percentile(times, percent, method="inverted_cdf")


@given(TIMES, st.floats(0.1, 100))
def test_a_percentile_is_a_value_with_enough_at_or_below_it(
    values: list[float], percent: float
) -> None:
    found = percentile(values, percent)

    assert found in values
    assert sum(value <= found for value in values) >= len(values) * percent / 100 - 1e-6


def test_percentiles_of_a_hundred_values_are_their_ranks() -> None:
    hundred = [float(value) for value in range(100, 0, -1)]

    assert [percentile(hundred, percent) for percent in (50, 95, 99, 100)] == [50, 95, 99, 100]


def test_no_values_have_no_percentile() -> None:
    assert math.isnan(percentile([], 50))


@pytest.mark.parametrize(("values", "median"), [([1, 2], 1), ([1, 2, 3], 2), ([4, 1, 3, 2], 2)])
def test_a_median_of_an_even_number_is_the_lower_middle(values: list[float], median: float) -> None:
    assert percentile(values, 50) == median
