"""Tests of the waits between attempts to connect."""

from __future__ import annotations

import pytest

from elastic_yolo.backoff import Backoff, parse_retry_after


def test_waits_double_up_to_half_a_minute_and_begin_again_after_a_success() -> None:
    backoff = Backoff(1.0, 30.0)
    waits = [backoff.next_s() for _ in range(8)]
    for wait, most in zip(waits, (1, 2, 4, 8, 16, 30, 30, 30), strict=True):
        assert 0.75 * most <= wait <= most
    backoff.reset()
    assert backoff.next_s() <= 1


def test_the_first_wait_is_no_longer_than_the_longest() -> None:
    backoff = Backoff(1.0, 0.1)

    assert max(backoff.next_s() for _ in range(3)) <= 0.1


def test_waits_of_several_cameras_differ() -> None:
    assert len({Backoff().next_s() for _ in range(20)}) > 1


def test_a_wait_is_as_long_as_the_other_end_asks_but_no_longer_than_a_minute() -> None:
    assert Backoff().next_s(17.0) == 17.0
    assert Backoff().next_s(86_400.0) == 60.0
    assert Backoff(5.0, 5.0).next_s(1.0) >= 3.75


@pytest.mark.parametrize("zone", ["+99999999999999999", "-" + "9" * 400, "+9999"])
def test_a_date_of_an_impossible_zone_asks_for_nothing(zone: str) -> None:
    assert parse_retry_after(f"Mon, 01 Jan 2024 00:00:00 {zone}") is None


def test_what_the_other_end_asks_for_is_not_cut() -> None:
    assert parse_retry_after("99999999") == 99_999_999
    assert parse_retry_after("-5") == 0
    assert parse_retry_after("1e400") is None
