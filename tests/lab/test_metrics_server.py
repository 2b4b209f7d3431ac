"""CPU metrics as metrics-server has them.

Source: kubernetes-sigs/metrics-server, pkg/storage/pod_test.go.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from elastic_yolo.lab.autoscaler.metrics_server import MetricsServer, Reading, Readings
from elastic_yolo.lab.autoscaler.pods import Usage


def half_a_cpu(now: float, started_at: float) -> Readings:
    return {"pod": Reading(started_at, now, 0.5 * (now - started_at))}


def run(server: MetricsServer, until_s: float, started_at: float) -> None:
    """Advance second by second; there is no pod before its start."""
    for second in range(int(until_s) + 1):
        server.advance(
            second,
            lambda now=float(second): half_a_cpu(now, started_at) if now >= started_at else {},
        )


def test_usage_is_the_rate_between_the_last_two_readings() -> None:
    server = MetricsServer(15, first_s=7)

    run(server, 60, started_at=-300)

    # Scrapes at 7, 22, 37 and 52 s found readings that were 8 s old.
    assert server.usages() == {"pod": Usage(500, 44, 15)}


def test_between_scrapes_the_usage_stays_that_of_the_last() -> None:
    server = MetricsServer(60, first_s=10)
    run(server, 70, started_at=-300)
    before = server.usages()

    server.advance(129.0, lambda: half_a_cpu(129, -300))

    assert server.usages() == before == {"pod": Usage(500, 62, 60)}


def test_a_new_pod_has_no_usage_until_its_second_reading() -> None:
    server = MetricsServer(15, first_s=7)

    run(server, 36, started_at=12)
    assert server.usages() == {}
    run(server, 38, started_at=12)

    assert server.usages() == {"pod": Usage(500, 29, 15)}


def test_the_start_of_a_pod_is_a_reading_if_it_was_at_least_10_s_ago() -> None:
    """And less than the resolution."""
    server = MetricsServer(15, first_s=7)

    run(server, 37, started_at=17)

    assert server.usages() == {"pod": Usage(500, 29, 12)}


def test_pods_that_used_nothing_have_metrics_from_the_start() -> None:
    server = MetricsServer()

    server.prime({"pod": Reading(-300, 0, 25)})

    assert server.usages() == {"pod": Usage(0, -16, 15)}


def test_pods_that_are_gone_have_none() -> None:
    server = MetricsServer(15, first_s=7)
    run(server, 40, started_at=-300)

    for second in range(44, 53):
        server.advance(second, dict)

    assert server.usages() == {}


def test_missed_scrapes_are_not_made_up_for() -> None:
    server = MetricsServer(15, first_s=7)
    run(server, 40, started_at=-300)

    for second in (44, 199, 200, 202):
        server.advance(second, lambda now=float(second): half_a_cpu(now, -300))

    # What was read for the scrape at 52 s came with that at 200 s; the next is at 202 s.
    assert server.usages() == {"pod": Usage(500, 200, 156)}


@given(st.integers(10, 120), st.integers(0, 119), st.integers(-300, 100), st.integers(0, 500))
def test_a_constant_usage_is_reported_as_it_is_and_never_newer_than_its_reading(
    resolution_s: int, first_s: int, started_at: int, until_s: int
) -> None:
    server = MetricsServer(resolution_s, first_s)

    run(server, until_s, started_at)

    for usage in server.usages().values():
        assert usage.milli == 500
        assert usage.at <= until_s
        assert usage.at - usage.window_s >= started_at
