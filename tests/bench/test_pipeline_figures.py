"""Spreads, paired ratios, and the difference from which on a candidate is better."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.pipeline.figures import Spread, judge, paired_ratios, spread

TIMES = st.lists(st.floats(0, 1e6), min_size=1, max_size=50)


@given(TIMES, st.floats(0.1, 10))
def test_a_change_of_machine_speed_keeps_paired_ratios(times: list[float], factor: float) -> None:
    baseline = [time + 1 for time in times]
    measured = [time * factor for time in baseline]

    assert paired_ratios(measured, baseline) == pytest.approx([factor] * len(times))


def test_a_round_without_its_pair_is_an_error() -> None:
    with pytest.raises(ValueError, match="longer"):
        paired_ratios([1.0], [1.0, 2.0])


def test_a_spread_is_median_and_range() -> None:
    assert spread([3.0, 1.0, 2.0]) == Spread(median=2.0, lowest=1.0, highest=3.0)


@pytest.mark.parametrize(
    ("ratio", "lower_is_better", "verdict"),
    [
        (1.0, True, "tie"),
        (1.09, True, "tie"),
        (0.91, False, "tie"),
        (1.11, True, "worse"),
        (0.89, True, "better"),
        (1.11, False, "better"),
        (0.89, False, "worse"),
    ],
)
def test_a_difference_counts_from_a_tenth_on(
    ratio: float, lower_is_better: bool, verdict: str
) -> None:
    assert judge(ratio, lower_is_better=lower_is_better) == verdict
