"""Which processes take part since when: reading their metrics, and the results."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from bench.pipeline.scaling import Count, answered, fair_after_s, retried
from elastic_yolo.lab.processes.stack import Stack
from tests.support.pictures import encode, plain
from tests.support.tiny import write_tiny_model

# Ten times a second: the old process has answered ten each time, the new one nothing at first.
COUNTS = [
    Count(at_s=100 + number / 10, answered=[10.0 * number, 10.0 * max(0, number - 12)])
    for number in range(40)
]


def test_a_share_is_fair_from_its_first_fair_half_second() -> None:
    """From 101.2 s on it answers as many; of the half second up to 101.6, 40 of 90."""
    assert fair_after_s(COUNTS, 1, ready_s=101.0) == pytest.approx(0.6)


def test_time_before_a_process_is_ready_does_not_count() -> None:
    assert fair_after_s(COUNTS, 1, ready_s=103.0) == pytest.approx(0.1)


def test_a_process_without_its_share_never_takes_part() -> None:
    idle = [Count(count.at_s, [count.answered[0], 0.0]) for count in COUNTS]

    assert fair_after_s(idle, 1, ready_s=100.0) is None


def test_served_pictures_are_read_from_the_metrics(tmp_path: Path) -> None:
    with Stack(model=write_tiny_model(tmp_path / "model"), logs=tmp_path) as stack:
        for _ in range(3):
            httpx.post(
                f"{stack.web.url}/inference", files={"image": encode(plain(64, 48), "JPEG")}
            ).raise_for_status()

        assert answered(stack.inference) == 3
        assert retried(stack.preprocess) == 0
