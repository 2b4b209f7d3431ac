"""The choice between endpoints and their states, on a clock that the test moves."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.peer.addresses import Address
from services.common.peer.endpoints import Endpoint, Endpoints
from services.common.peer.peer import RetryBudget
from tests.support.clock import Clock


def address(number: int) -> Address:
    return Address(f"10.0.0.{number}", 4002, "inference:4002")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def three(clock: Clock) -> Endpoints:
    """Three endpoints that have responded before."""
    endpoints = Endpoints(clock, Random(1))  # noqa: S311  # fair, not secret
    endpoints.update(address(number) for number in range(3))
    for endpoint in endpoints.known.values():
        endpoints.record_success(endpoint)
    return endpoints


def draw(endpoints: Endpoints, times: int) -> Counter[Endpoint]:
    """Choose an endpoint this many times; the requests do not end."""
    chosen: Counter[Endpoint] = Counter()
    for _ in range(times):
        endpoint = endpoints.choose()
        assert endpoint is not None
        endpoints.request_started(endpoint)
        chosen[endpoint] += 1
    return chosen


@given(st.integers(2, 20), st.integers(0, 2**32))
def test_requests_are_balanced_evenly(count: int, seed: int) -> None:
    """The power of two choices: no endpoint has more than a few above the mean."""
    endpoints = Endpoints(Clock(), Random(seed))  # noqa: S311
    endpoints.update(address(number) for number in range(count))

    chosen = draw(endpoints, 30 * count)

    assert len(chosen) == count
    assert max(chosen.values()) <= 30 + 5


def test_a_slow_endpoint_gets_fewer_requests(three: Endpoints) -> None:
    slow, *quick = three.known.values()
    chosen: Counter[Endpoint] = Counter()
    for _ in range(300):
        endpoint = three.choose()
        three.request_started(endpoint)
        chosen[endpoint] += 1
        if endpoint is not slow:
            three.request_ended(endpoint)

    assert chosen[slow] < 10
    assert all(chosen[endpoint] > 100 for endpoint in quick)


def test_a_new_endpoint_gets_its_share_immediately(three: Endpoints) -> None:
    draw(three, 30)
    three.update(address(number) for number in range(4))
    new = three.known[address(3)]

    chosen = draw(three, 20)

    assert chosen[new] >= 5


def test_a_removed_endpoint_gets_no_requests(three: Endpoints) -> None:
    first = three.known[address(0)]

    removed = three.update([address(1), address(2)])

    assert removed == [first]
    assert first not in draw(three, 50)


def test_each_ejection_is_twice_as_long_as_the_last(three: Endpoints, clock: Clock) -> None:
    bad = three.known[address(0)]
    for ejection_s in (1, 2, 4, 8, 16, 30, 30):
        three.record_failure(bad)
        assert bad not in draw(three, 50)
        clock.now += ejection_s - 0.01
        assert three.due_for_probe() == []
        clock.now += 0.02
        assert three.due_for_probe() == [bad]


def test_the_share_grows_slowly_after_an_ejection(three: Endpoints, clock: Clock) -> None:
    bad = three.known[address(0)]
    three.record_failure(bad)
    clock.now += 1.1
    three.record_success(bad)  # the probe
    shares = []
    for _ in range(6):
        chosen = Counter(three.choose() for _ in range(3000))
        shares.append(chosen[bad] / 3000)
        clock.now += 1

    assert shares[0] < 0.02
    assert shares == pytest.approx([0, 0.07, 0.13, 0.2, 0.27, 0.33], abs=0.04)


def test_ejections_are_short_again_after_a_time_without_failures(
    three: Endpoints, clock: Clock
) -> None:
    bad = three.known[address(0)]
    for _ in range(4):
        three.record_failure(bad)
        clock.now += 31
    three.record_success(bad)
    clock.now += 6
    three.record_success(bad)
    three.record_failure(bad)
    clock.now += 1.1

    assert three.due_for_probe() == [bad]


def test_a_starting_endpoint_gets_its_share_once_it_is_ready(
    three: Endpoints, clock: Clock
) -> None:
    three.update(address(number) for number in range(4))
    starting = three.known[address(3)]
    for _ in range(5):
        three.record_failure(starting)
        assert three.due_for_probe() == [starting]
        clock.now += 1
    three.record_success(starting)

    chosen = Counter(three.choose() for _ in range(4000))

    assert chosen[starting] == pytest.approx(1000, abs=120)


def test_a_response_from_before_a_failure_ends_no_ejection(three: Endpoints, clock: Clock) -> None:
    bad = three.known[address(0)]
    three.request_started(bad)
    three.record_failure(bad)
    three.record_success(bad)
    during = three.state(bad)
    clock.now += 1.1
    three.record_success(bad)

    assert during == "ejected"
    assert three.state(bad) == "serving"


def test_if_all_endpoints_fail_the_ejections_stay_short(three: Endpoints, clock: Clock) -> None:
    """After an outage of a service that all depend on, all return with the next probe."""
    for _ in range(20):
        for endpoint in three.known.values():
            three.record_failure(endpoint)
        clock.now += 1.1
    for endpoint in three.due_for_probe():
        three.record_success(endpoint)

    assert three.count("serving") == 3


def test_if_all_endpoints_are_ejected_all_get_requests(three: Endpoints) -> None:
    for endpoint in three.known.values():
        three.record_failure(endpoint)

    assert len(draw(three, 30)) == 3


def test_a_draining_endpoint_is_chosen_last_and_not_ejected(three: Endpoints, clock: Clock) -> None:
    draining, *others = three.known.values()
    three.record_success(draining, draining=True)
    while_draining = draw(three, 50)
    clock.now += 5.1
    afterwards = draw(three, 50)
    three.record_success(draining, draining=True)

    assert draining not in while_draining
    assert draining in afterwards
    assert three.due_for_probe() == []
    assert three.choose(others) is draining


def test_an_endpoint_with_requests_but_no_response_is_silent(
    three: Endpoints, clock: Clock
) -> None:
    busy, quick, idle = three.known.values()
    three.request_started(busy)
    three.request_started(quick)
    clock.now += 0.9
    three.record_success(quick)
    clock.now += 0.2

    assert three.silent() == [busy]
    assert idle.outstanding == 0


def test_a_removed_endpoint_is_silent_until_its_last_request_ends(
    three: Endpoints, clock: Clock
) -> None:
    """The address of a node that dies leaves DNS while requests to it are under way."""
    busy = three.known[address(0)]
    three.request_started(busy)
    three.update([address(1), address(2)])
    clock.now += 1.1
    before = three.silent()
    three.request_ended(busy)

    assert before == [busy]
    assert three.silent() == []


def test_if_all_endpoints_are_excluded_none_is_chosen(three: Endpoints) -> None:
    assert three.choose(list(three.known.values())) is None


def test_retries_are_at_most_a_fifth_of_the_traffic() -> None:
    budget = RetryBudget()
    saved = 0
    while budget.withdraw():
        saved += 1
    taken = 0
    for _ in range(1000):
        budget.deposit()
        taken += budget.withdraw()

    assert saved == 100
    assert taken == pytest.approx(200, abs=1)
