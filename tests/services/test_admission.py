"""Admission at web: who would not be served in time is told at once, and when to come back."""

from __future__ import annotations

import pytest

from services.common.queue.service_rate import ServiceRate
from services.common.request.context import RequestContext
from services.common.request.deadline import Deadline
from services.common.request.errors import DeadlineExceeded, RemoteProblem, TooManyRequests
from services.web.admission import Admission
from tests.services.test_service_rate import Clock, serve


def context(budget_s: float) -> RequestContext:
    return RequestContext("0" * 32, Deadline.after_ms(budget_s * 1000))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rate(clock: Clock) -> ServiceRate:
    """One picture every 100 ms."""
    measured = ServiceRate(clock)
    serve(measured, clock, jobs=200, seconds_each=0.1, together=5)
    return measured


def test_a_picture_that_would_be_late_is_refused_with_the_time_to_come_back(
    rate: ServiceRate,
) -> None:
    admission = Admission(1000, rate)
    rate.begin(59)  # 6 s with the newcomer

    with pytest.raises(TooManyRequests, match="59 pictures in flight") as refused:
        admission.check(context(2))

    assert refused.value.retry_after_s == 5  # 6 s less the 1.6 s that are safe, rounded up
    admission.check(context(20))


def test_one_too_many_is_refused_however_patient(rate: ServiceRate) -> None:
    admission = Admission(3, rate)
    with admission.slot(context(60)), admission.slot(context(60)), admission.slot(context(60)):
        assert admission.load.waiting == 3
        with pytest.raises(TooManyRequests):
            admission.check(context(60))

    admission.check(context(60))


def test_an_idle_service_takes_whoever_is_in_a_hurry(rate: ServiceRate) -> None:
    """A guess from the past is no reason to refuse when nobody is in front."""
    with Admission(10, rate).slot(context(0.001)):
        pass


@pytest.mark.parametrize(
    "late", [DeadlineExceeded("late"), RemoteProblem(429, "Too Many Requests", "full", "1")]
)
def test_somebody_who_was_late_makes_it_careful(
    rate: ServiceRate, clock: Clock, late: Exception
) -> None:
    """Pictures take 500 ms now; what is remembered from before was 100."""
    admission = Admission(1000, rate)
    serve(rate, clock, jobs=12, seconds_each=0.5, together=5)
    rate.begin(9)
    admission.check(context(3))

    with pytest.raises(type(late)), admission.slot(context(3)):
        raise late

    with pytest.raises(TooManyRequests):
        admission.check(context(3))


def test_a_picture_that_is_refused_for_what_it_is_says_nothing_about_the_rate(
    rate: ServiceRate,
) -> None:
    admission = Admission(1000, rate)
    rate.begin(9)
    before = rate.wait_s()

    with pytest.raises(RemoteProblem), admission.slot(context(3)):
        raise RemoteProblem(422, "Unprocessable", "does not decode", None)

    assert rate.wait_s() == before
