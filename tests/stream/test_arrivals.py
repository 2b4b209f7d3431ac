"""Tests of when frames were taken."""

from __future__ import annotations

import pytest

from elastic_yolo.stream.cameras.arrivals import Arrivals


def test_a_frame_without_a_timestamp_was_taken_when_it_was_read() -> None:
    assert Arrivals().taken_at(None, 1000.5) == 1000.5


def test_a_frame_that_was_read_late_was_taken_when_its_timestamp_says() -> None:
    arrivals = Arrivals()
    # The camera's clock began at 0 when ours was at 1000.
    assert [arrivals.taken_at(at / 10, 1000 + at / 10) for at in range(3)] == [1000, 1000.1, 1000.2]
    # The process was busy for two seconds, and reads what came meanwhile.
    late = [arrivals.taken_at(at / 10, 1002.3) for at in range(3, 24)]
    assert late == pytest.approx([1000 + at / 10 for at in range(3, 24)], abs=0.005)


def test_the_frame_with_the_least_delay_counts() -> None:
    arrivals = Arrivals()
    assert arrivals.taken_at(0, 1000.3) == 1000.3
    assert arrivals.taken_at(0.1, 1000.1) == 1000.1
    assert arrivals.taken_at(0.2, 1000.5) == pytest.approx(1000.2, abs=0.001)


def test_no_frame_was_taken_after_it_was_read_however_clocks_jump() -> None:
    arrivals = Arrivals()
    for timestamp, read_at in ((0, 1000), (50, 1000.1), (50.1, 1000.2), (0, 1000.3), (1, 900)):
        assert arrivals.taken_at(timestamp, read_at) <= read_at


def test_a_camera_whose_clock_is_a_little_slow_does_not_seem_late() -> None:
    arrivals = Arrivals()
    # 300 millionths: far more than a quartz.
    ages = [at - arrivals.taken_at(at * 0.9997, at) for at in range(1000, 90_000, 10)]
    assert max(ages) < 0.01


def test_after_a_clock_was_set_a_camera_is_known_anew() -> None:
    arrivals = Arrivals()
    arrivals.taken_at(5000, 1000)
    assert arrivals.taken_at(1, 1001) < 0
    arrivals.begin_again()
    assert arrivals.taken_at(2, 1002) == 1002
