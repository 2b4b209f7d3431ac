"""Admission at web: a picture that would be late is refused immediately, with Retry-After."""

from __future__ import annotations

import pytest

from services.common.queue import ServiceRate
from services.common.request.context import Deadline, RequestContext
from services.common.request.errors import DeadlineExceeded, RemoteProblem, TooManyRequests
from services.web.admission import Admission
from tests.support.clock import Clock
from tests.support.service_rate import complete_jobs


def context(budget_s: float) -> RequestContext:
    return RequestContext("0" * 32, Deadline.after_ms(budget_s * 1000))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rate(clock: Clock) -> ServiceRate:
    """One picture every 100 ms."""
    measured = ServiceRate(clock)
    complete_jobs(measured, clock, jobs=200, seconds_each=0.1, in_flight=5)
    return measured


def test_a_picture_that_would_be_late_is_refused_with_retry_after(
    rate: ServiceRate,
) -> None:
    admission = Admission(1000, rate)
    rate.begin(59)  # 6 s with one more

    with pytest.raises(TooManyRequests, match="59 pictures in flight") as refused:
        admission.require_slot(context(2))

    assert refused.value.retry_after_s == 5  # 6 s less the 1.6 s that are safe, rounded up
    admission.require_slot(context(20))


def test_a_picture_beyond_the_limit_is_refused_with_any_deadline(rate: ServiceRate) -> None:
    admission = Admission(3, rate)
    with admission.slot(context(60)), admission.slot(context(60)), admission.slot(context(60)):
        assert admission.load.waiting == 3
        with pytest.raises(TooManyRequests):
            admission.require_slot(context(60))

    admission.require_slot(context(60))


def test_an_idle_service_admits_a_picture_with_any_deadline(rate: ServiceRate) -> None:
    """A rate from the past is no reason to refuse while no picture is in flight."""
    with Admission(10, rate).slot(context(0.001)):
        pass


@pytest.mark.parametrize(
    "late", [DeadlineExceeded("late"), RemoteProblem(429, "Too Many Requests", "full", "1")]
)
def test_a_late_picture_makes_admission_stricter(
    rate: ServiceRate, clock: Clock, late: Exception
) -> None:
    """A picture takes 500 ms now; the remembered rate is one per 100 ms."""
    admission = Admission(1000, rate)
    complete_jobs(rate, clock, jobs=12, seconds_each=0.5, in_flight=5)
    rate.begin(9)
    admission.require_slot(context(3))

    with pytest.raises(type(late)), admission.slot(context(3)):
        raise late

    with pytest.raises(TooManyRequests):
        admission.require_slot(context(3))


def test_a_rejected_picture_does_not_change_the_rate(
    rate: ServiceRate,
) -> None:
    admission = Admission(1000, rate)
    rate.begin(9)
    before = rate.wait_s()

    with pytest.raises(RemoteProblem), admission.slot(context(3)):
        raise RemoteProblem(422, "Unprocessable", "does not decode", None)

    assert rate.wait_s() == before
