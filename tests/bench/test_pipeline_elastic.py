"""Who takes part, and from when on: what is read from the services, and what is made of it."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from bench.pipeline.elastic import Count, answered, fair_after_s, retried
from elastic_yolo.lab.processes.stack import Stack
from tests.support.pictures import encode, plain
from tests.support.tiny import write_tiny_model

# Ten times a second: the old process has answered ten each time, the new one nothing at first.
COUNTS = [
    Count(at_s=100 + number / 10, answered=[10.0 * number, 10.0 * max(0, number - 12)])
    for number in range(40)
]


def test_a_share_is_fair_from_the_first_half_second_in_which_it_is() -> None:
    """From 101.2 s on it answers as many; of the half second up to 101.6, 40 of 90."""
    assert fair_after_s(COUNTS, 1, ready_s=101.0) == pytest.approx(0.6)


def test_what_was_before_it_was_ready_does_not_count() -> None:
    assert fair_after_s(COUNTS, 1, ready_s=103.0) == pytest.approx(0.1)


def test_who_never_gets_its_share_never_has_it() -> None:
    idle = [Count(count.at_s, [count.answered[0], 0.0]) for count in COUNTS]

    assert fair_after_s(idle, 1, ready_s=100.0) is None


def test_services_are_asked_what_they_have_answered(tmp_path: Path) -> None:
    with Stack(model=write_tiny_model(tmp_path / "model"), logs=tmp_path) as stack:
        for _ in range(3):
            httpx.post(
                f"{stack.web.url}/inference", files={"image": encode(plain(64, 48), "JPEG")}
            ).raise_for_status()

        assert answered(stack.inference) == 3
        assert retried(stack.preprocess) == 0
