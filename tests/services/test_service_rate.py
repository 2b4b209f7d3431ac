"""The rate at which work gets done, and what it predicts, on a clock of the test's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.queue.service_rate import ServiceRate, seconds_to_wait


class Clock:
    """Shows the time that a test has set."""

    def __init__(self) -> None:
        """Begin somewhere."""
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def serve(
    rate: ServiceRate, clock: Clock, *, jobs: int, seconds_each: float, together: int
) -> None:
    """Keep `together` jobs in flight, and end one after every `seconds_each`."""
    rate.begin(together)
    for _ in range(jobs):
        clock.now += seconds_each
        rate.end(done=True)
        rate.begin()
    rate.end(together, done=False)


def test_the_first_one_is_never_too_many() -> None:
    clock = Clock()
    rate = ServiceRate(clock)

    assert rate.wait_s() == 0
    rate.begin()
    assert rate.wait_s() == 0


@given(
    seconds_each=st.floats(0.001, 0.5), together=st.integers(1, 200), in_front=st.integers(1, 500)
)
def test_a_steady_service_is_predicted(seconds_each: float, together: int, in_front: int) -> None:
    clock = Clock()
    rate = ServiceRate(clock)
    serve(rate, clock, jobs=400, seconds_each=seconds_each, together=together)

    rate.begin(in_front)

    assert rate.wait_s() == pytest.approx((in_front + 1) * seconds_each, rel=0.25)


def test_idle_time_says_nothing_about_the_rate() -> None:
    clock = Clock()
    rate = ServiceRate(clock)
    serve(rate, clock, jobs=400, seconds_each=0.01, together=8)
    clock.now += 3600
    rate.begin(10)

    assert rate.wait_s() == pytest.approx(0.11, rel=0.05)


def test_little_to_do_is_not_taken_for_being_slow() -> None:
    """One at a time takes 50 ms each; under load one got done every 10 ms, a moment ago."""
    clock = Clock()
    rate = ServiceRate(clock)
    serve(rate, clock, jobs=400, seconds_each=0.01, together=5)
    serve(rate, clock, jobs=20, seconds_each=0.05, together=1)
    rate.begin(10)

    assert rate.wait_s() == pytest.approx(0.11, rel=0.15)


def test_a_service_that_became_slow_is_believed_to_be_slow_once_somebody_was_late() -> None:
    clock = Clock()
    rate = ServiceRate(clock)
    serve(rate, clock, jobs=400, seconds_each=0.01, together=5)
    serve(rate, clock, jobs=240, seconds_each=0.05, together=5)
    rate.begin(10)
    hopeful = rate.wait_s()
    rate.lower()

    assert hopeful < 0.4
    assert rate.wait_s() == pytest.approx(0.55, rel=0.1)


def test_a_service_that_became_faster_is_noticed_within_seconds() -> None:
    clock = Clock()
    rate = ServiceRate(clock)
    serve(rate, clock, jobs=100, seconds_each=0.1, together=5)
    serve(rate, clock, jobs=300, seconds_each=0.02, together=5)
    rate.begin(9)

    assert rate.wait_s() == pytest.approx(0.2, rel=0.1)


def test_a_stall_is_felt_and_forgotten() -> None:
    clock = Clock()
    rate = ServiceRate(clock)
    serve(rate, clock, jobs=400, seconds_each=0.01, together=5)
    rate.begin(5)
    clock.now += 60
    stalled = rate.wait_s()
    rate.end(5, done=True)
    serve(rate, clock, jobs=1000, seconds_each=0.01, together=5)
    rate.begin(5)

    assert stalled > 3
    assert rate.wait_s() == pytest.approx(0.06, rel=0.1)


@pytest.mark.parametrize(
    ("wait", "budget", "seconds"), [(0.2, 1, 1), (1.5, 1, 1), (4.2, 1, 4), (60, 0.5, 60)]
)
def test_retry_after_is_what_is_too_much(wait: float, budget: float, seconds: int) -> None:
    assert seconds_to_wait(wait, budget) == seconds
