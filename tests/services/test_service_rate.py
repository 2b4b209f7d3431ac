"""The measured service rate and the wait that it predicts, on a clock of the test's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.queue import ServiceRate, seconds_to_wait
from services.common.request.errors import TooManyRequests
from tests.support.clock import Clock
from tests.support.service_rate import complete_jobs


def test_the_first_job_has_no_predicted_wait() -> None:
    clock = Clock()
    rate = ServiceRate(clock)

    assert rate.wait_s() == 0
    rate.begin()
    assert rate.wait_s() == 0


@given(
    seconds_each=st.floats(0.001, 0.5), in_flight=st.integers(1, 200), queued=st.integers(1, 500)
)
def test_the_wait_behind_a_steady_service_is_predicted(
    seconds_each: float, in_flight: int, queued: int
) -> None:
    clock = Clock()
    rate = ServiceRate(clock)
    complete_jobs(rate, clock, jobs=400, seconds_each=seconds_each, in_flight=in_flight)

    rate.begin(queued)

    assert rate.wait_s() == pytest.approx((queued + 1) * seconds_each, rel=0.25)


def test_idle_time_does_not_change_the_rate() -> None:
    clock = Clock()
    rate = ServiceRate(clock)
    complete_jobs(rate, clock, jobs=400, seconds_each=0.01, in_flight=8)
    clock.now += 3600
    rate.begin(10)

    assert rate.wait_s() == pytest.approx(0.11, rel=0.05)


def test_low_load_does_not_lower_the_rate() -> None:
    """A job alone takes 50 ms; under load, a moment ago, one was completed every 10 ms."""
    clock = Clock()
    rate = ServiceRate(clock)
    complete_jobs(rate, clock, jobs=400, seconds_each=0.01, in_flight=5)
    complete_jobs(rate, clock, jobs=20, seconds_each=0.05, in_flight=1)
    rate.begin(10)

    assert rate.wait_s() == pytest.approx(0.11, rel=0.15)


def test_a_late_job_makes_the_prediction_use_the_present_rate() -> None:
    clock = Clock()
    rate = ServiceRate(clock)
    complete_jobs(rate, clock, jobs=400, seconds_each=0.01, in_flight=5)
    complete_jobs(rate, clock, jobs=240, seconds_each=0.05, in_flight=5)
    rate.begin(10)
    optimistic = rate.wait_s()
    rate.drop_best_rate()

    assert optimistic < 0.4
    assert rate.wait_s() == pytest.approx(0.55, rel=0.1)


def test_a_faster_service_is_noticed_within_seconds() -> None:
    clock = Clock()
    rate = ServiceRate(clock)
    complete_jobs(rate, clock, jobs=100, seconds_each=0.1, in_flight=5)
    complete_jobs(rate, clock, jobs=300, seconds_each=0.02, in_flight=5)
    rate.begin(9)

    assert rate.wait_s() == pytest.approx(0.2, rel=0.1)


def test_a_stall_raises_the_wait_only_while_it_lasts() -> None:
    clock = Clock()
    rate = ServiceRate(clock)
    complete_jobs(rate, clock, jobs=400, seconds_each=0.01, in_flight=5)
    rate.begin(5)
    clock.now += 60
    stalled = rate.wait_s()
    rate.end(5, done=True)
    complete_jobs(rate, clock, jobs=1000, seconds_each=0.01, in_flight=5)
    rate.begin(5)

    assert stalled > 3
    assert rate.wait_s() == pytest.approx(0.06, rel=0.1)


@pytest.mark.parametrize(
    ("wait", "budget", "seconds"), [(0.2, 1, 1), (1.5, 1, 1), (4.2, 1, 4), (60, 0.5, 60)]
)
def test_retry_after_is_the_wait_beyond_the_budget(
    wait: float, budget: float, seconds: int
) -> None:
    assert seconds_to_wait(wait, budget) == seconds


def test_while_nothing_is_completed_retry_after_is_at_most_a_minute() -> None:
    """The wait was predicted as days after a minute, and as infinite after half an hour."""
    clock = Clock()
    rate = ServiceRate(clock)
    complete_jobs(rate, clock, jobs=100, seconds_each=0.1, in_flight=1)

    retry_after = []
    for _ in range(60):
        rate.begin()
        for _ in range(30):
            clock.now += 1
            try:
                rate.refuse_if_late(100, 24)
            except TooManyRequests as refused:
                retry_after.append(refused.retry_after_s)
        rate.drop_best_rate()
        rate.end(done=False)

    assert len(retry_after) > 1000
    assert set(retry_after[60:]) == {60}
