"""Tests of the waits between attempts to connect."""

from __future__ import annotations

import pytest

from elastic_yolo.stream.backoff import Backoff


def test_waits_double_up_to_half_a_minute_and_begin_again_after_a_success() -> None:
    backoff = Backoff()
    waits = [backoff.next_s() for _ in range(8)]
    for wait, most in zip(waits, (1, 2, 4, 8, 16, 30, 30, 30), strict=True):
        assert 0.75 * most <= wait <= most
    backoff.reset()
    assert backoff.next_s() <= 1


def test_waits_of_several_cameras_differ() -> None:
    assert len({Backoff().next_s() for _ in range(20)}) > 1


@pytest.mark.parametrize("attempts", [1, 100])
def test_waits_are_never_longer_than_half_a_minute(attempts: int) -> None:
    backoff = Backoff()
    assert max(backoff.next_s() for _ in range(attempts)) <= 30
