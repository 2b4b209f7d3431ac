"""The choice between several processes, on a clock of the test's own."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.peer.addresses import Address
from services.common.peer.endpoints import Endpoint, Endpoints
from services.common.peer.retry_budget import RetryBudget
from tests.services.test_service_rate import Clock


def address(number: int) -> Address:
    return Address(f"10.0.0.{number}", 4002, "inference:4002")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def three(clock: Clock) -> Endpoints:
    """Three processes that have answered before."""
    endpoints = Endpoints(clock, Random(1))  # noqa: S311  # fair, not secret
    endpoints.update(address(number) for number in range(3))
    for endpoint in endpoints.known.values():
        endpoints.answered(endpoint)
    return endpoints


def draw(endpoints: Endpoints, times: int) -> Counter[Endpoint]:
    """Choose so often, without ever ending a request."""
    chosen: Counter[Endpoint] = Counter()
    for _ in range(times):
        endpoint = endpoints.choose()
        assert endpoint is not None
        endpoints.begin(endpoint)
        chosen[endpoint] += 1
    return chosen


@given(st.integers(2, 20), st.integers(0, 2**32))
def test_requests_are_spread_evenly(processes: int, seed: int) -> None:
    """The power of two choices: nobody has more than a few above the mean."""
    endpoints = Endpoints(Clock(), Random(seed))  # noqa: S311
    endpoints.update(address(number) for number in range(processes))

    chosen = draw(endpoints, 30 * processes)

    assert len(chosen) == processes
    assert max(chosen.values()) <= 30 + 5


def test_a_slow_process_gets_less(three: Endpoints) -> None:
    slow, *quick = three.known.values()
    chosen: Counter[Endpoint] = Counter()
    for _ in range(300):
        endpoint = three.choose()
        three.begin(endpoint)
        chosen[endpoint] += 1
        if endpoint is not slow:
            three.end(endpoint)

    assert chosen[slow] < 10
    assert all(chosen[endpoint] > 100 for endpoint in quick)


def test_a_new_process_takes_its_share_at_once(three: Endpoints) -> None:
    draw(three, 30)
    three.update(address(number) for number in range(4))
    new = three.known[address(3)]

    chosen = draw(three, 20)

    assert chosen[new] >= 5


def test_a_process_that_is_gone_gets_nothing_more(three: Endpoints) -> None:
    first = three.known[address(0)]

    gone = three.update([address(1), address(2)])

    assert gone == [first]
    assert first not in draw(three, 50)


def test_a_failing_process_pauses_twice_as_long_each_time(three: Endpoints, clock: Clock) -> None:
    bad = three.known[address(0)]
    for pause in (1, 2, 4, 8, 16, 30, 30):
        three.failed(bad)
        assert bad not in draw(three, 50)
        clock.now += pause - 0.01
        assert three.to_probe() == []
        clock.now += 0.02
        assert three.to_probe() == [bad]


def test_it_comes_back_little_by_little(three: Endpoints, clock: Clock) -> None:
    bad = three.known[address(0)]
    three.failed(bad)
    clock.now += 1.1
    three.answered(bad)  # the probe
    shares = []
    for _ in range(6):
        chosen = Counter(three.choose() for _ in range(3000))
        shares.append(chosen[bad] / 3000)
        clock.now += 1

    assert shares[0] < 0.02
    assert shares == pytest.approx([0, 0.07, 0.13, 0.2, 0.27, 0.33], abs=0.04)


def test_after_a_while_without_failures_the_pauses_are_short_again(
    three: Endpoints, clock: Clock
) -> None:
    bad = three.known[address(0)]
    for _ in range(4):
        three.failed(bad)
        clock.now += 31
    three.answered(bad)
    clock.now += 6
    three.answered(bad)
    three.failed(bad)
    clock.now += 1.1

    assert three.to_probe() == [bad]


def test_a_process_that_is_only_starting_takes_its_share_as_soon_as_it_is_ready(
    three: Endpoints, clock: Clock
) -> None:
    three.update(address(number) for number in range(4))
    starting = three.known[address(3)]
    for _ in range(5):
        three.failed(starting)
        assert three.to_probe() == [starting]
        clock.now += 1
    three.answered(starting)

    chosen = Counter(three.choose() for _ in range(4000))

    assert chosen[starting] == pytest.approx(1000, abs=120)


def test_an_answer_to_an_earlier_request_does_not_end_a_pause(
    three: Endpoints, clock: Clock
) -> None:
    bad = three.known[address(0)]
    three.begin(bad)
    three.failed(bad)
    three.answered(bad)
    during = three.state(bad)
    clock.now += 1.1
    three.answered(bad)

    assert during == "ejected"
    assert three.state(bad) == "serving"


def test_what_takes_everybody_down_is_nobody_s_own_fault(three: Endpoints, clock: Clock) -> None:
    """After an outage of something behind them all are back with the next probes."""
    for _ in range(20):
        for endpoint in three.known.values():
            three.failed(endpoint)
        clock.now += 1.1
    for endpoint in three.to_probe():
        three.answered(endpoint)

    assert three.count("serving") == 3


def test_if_nobody_is_well_everybody_is_asked(three: Endpoints) -> None:
    for endpoint in three.known.values():
        three.failed(endpoint)

    assert len(draw(three, 30)) == 3


def test_who_says_that_it_leaves_is_asked_last_and_not_punished(
    three: Endpoints, clock: Clock
) -> None:
    leaving, *others = three.known.values()
    three.answered(leaving, leaving=True)
    while_leaving = draw(three, 50)
    clock.now += 5.1
    afterwards = draw(three, 50)
    three.answered(leaving, leaving=True)

    assert leaving not in while_leaving
    assert leaving in afterwards
    assert three.to_probe() == []
    assert three.choose(others) is leaving


def test_who_has_requests_and_says_nothing_is_suspected(three: Endpoints, clock: Clock) -> None:
    busy, quick, idle = three.known.values()
    three.begin(busy)
    three.begin(quick)
    clock.now += 0.9
    three.answered(quick)
    clock.now += 0.2

    assert three.silent() == [busy]
    assert idle.outstanding == 0


def test_who_is_gone_with_requests_is_suspected_until_the_last_is_over(
    three: Endpoints, clock: Clock
) -> None:
    """A node that dies takes its address out of DNS, and answers nothing any more."""
    busy = three.known[address(0)]
    three.begin(busy)
    three.update([address(1), address(2)])
    clock.now += 1.1
    before = three.silent()
    three.end(busy)

    assert before == [busy]
    assert three.silent() == []


def test_nobody_is_left_when_all_are_excluded(three: Endpoints) -> None:
    assert three.choose(list(three.known.values())) is None


def test_retries_are_a_fifth_of_the_traffic_at_most() -> None:
    budget = RetryBudget()
    saved = 0
    while budget.take():
        saved += 1
    taken = 0
    for _ in range(1000):
        budget.pay_in()
        taken += budget.take()

    assert saved == 100
    assert taken == pytest.approx(200, abs=1)
