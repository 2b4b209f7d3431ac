"""Shapes of load, as functions of time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.shapes import MAX_DURATION_S, MAX_USERS, MIN_DURATION_S, SHAPES, SUMMARIES, users_at

names = st.sampled_from(sorted(SHAPES))
peaks = st.integers(1, MAX_USERS)
durations = st.floats(MIN_DURATION_S, MAX_DURATION_S)


@given(names, peaks, durations, st.floats(0, 1, exclude_max=True))
def test_users_are_at_least_one_and_at_most_the_peak(
    name: str, peak: int, duration_s: float, part: float
) -> None:
    users = users_at(name, part * duration_s * 0.999999, peak=peak, duration_s=duration_s)

    assert users is not None
    assert 1 <= users <= peak


@given(names, peaks, durations, st.floats(0, 1e6))
def test_after_the_end_there_are_no_users(
    name: str, peak: int, duration_s: float, later_s: float
) -> None:
    assert users_at(name, duration_s + later_s, peak=peak, duration_s=duration_s) is None


@given(names, peaks, durations)
def test_before_the_start_users_are_those_of_the_start(
    name: str, peak: int, duration_s: float
) -> None:
    """The clock of a run may be slightly behind."""
    early = users_at(name, -0.1, peak=peak, duration_s=duration_s)

    assert early == users_at(name, 0, peak=peak, duration_s=duration_s)


@given(names, peaks)
def test_every_shape_reaches_its_peak(name: str, peak: int) -> None:
    seen = {users_at(name, second, peak=peak, duration_s=120) for second in range(120)}

    assert peak in seen


def test_step_has_five_levels_of_the_same_length() -> None:
    users = [users_at("step", second, peak=50, duration_s=100) for second in range(100)]

    assert users == [10] * 20 + [20] * 20 + [30] * 20 + [40] * 20 + [50] * 20


@given(peaks, durations, st.floats(0, 1), st.floats(0, 1))
def test_ramp_never_goes_down(peak: int, duration_s: float, one: float, other: float) -> None:
    first, second = sorted((one, other))
    before = users_at("ramp", 0.999 * first * duration_s, peak=peak, duration_s=duration_s)
    after = users_at("ramp", 0.999 * second * duration_s, peak=peak, duration_s=duration_s)

    assert before is not None
    assert after is not None
    assert before <= after


def test_ramp_holds_the_peak_for_the_last_quarter() -> None:
    users = [users_at("ramp", second, peak=40, duration_s=100) for second in (0, 37.5, 75, 99)]

    assert users == [1, 20, 40, 40]


def test_spike_ends_as_abruptly_as_it_starts() -> None:
    users = [users_at("spike", second, peak=100, duration_s=100) for second in (39, 40, 59, 60)]

    assert users == [10, 100, 100, 10]


def test_wave_has_two_days_with_their_nights() -> None:
    moments = (0, 25, 50, 75, 99.9)
    users = [users_at("wave", second, peak=100, duration_s=100) for second in moments]

    assert users == [10, 100, 10, 100, 10]


def test_overload_leaves_time_to_recover() -> None:
    moments = (0, 19, 20, 79, 80, 99)
    users = [users_at("overload", second, peak=100, duration_s=100) for second in moments]

    assert users == [25, 25, 100, 100, 25, 25]


@pytest.mark.parametrize(
    ("peak", "duration_s", "message"),
    [
        (0, 60, "0 users: expected 1 to 10000"),
        (10_001, 60, "10001 users: expected 1 to 10000"),
        (10, 4.9, r"4\.9 s: expected 5 to 86400"),
        (10, 86_401, "86401 s: expected 5 to 86400"),
    ],
)
def test_values_out_of_range_are_refused(peak: int, duration_s: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        users_at("step", 0, peak=peak, duration_s=duration_s)


def test_every_shape_is_explained() -> None:
    assert SHAPES.keys() == SUMMARIES.keys()
