"""Between the predictions of an explanation there is room for pictures, while there are any."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from services.common.request.context import Deadline
from services.preprocess.explaining.restraint import Restraint

pytestmark = pytest.mark.anyio


async def most_at_once(restraint: Restraint, job: Callable[[], Awaitable[None]]) -> int:
    """Run three slots together; return how many of their blocks ran at the same time."""
    running: list[int] = [0]
    most = 0

    async def run() -> None:
        nonlocal most
        async with restraint.slot(Deadline.after_ms(20_000)):
            running[0] += 1
            most = max(most, running[0])
            await job()
            running[0] -= 1

    await asyncio.gather(run(), run(), run())
    return most


async def yield_often() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_without_pictures_predictions_run_together() -> None:
    assert await most_at_once(Restraint(), yield_often) == 3


async def test_with_pictures_one_prediction_runs_at_a_time() -> None:
    restraint = Restraint()
    restraint.note_picture()

    assert await most_at_once(restraint, yield_often) == 1


async def test_with_pictures_a_prediction_is_followed_by_nine_times_its_duration() -> None:
    restraint = Restraint()
    restraint.note_picture()
    began = time.monotonic()
    async with restraint.slot(Deadline.after_ms(20_000)):
        await asyncio.sleep(0.02)
        predicted = time.monotonic()
        restraint.note_picture()
    ended = time.monotonic()

    assert ended - predicted >= min(1.0, 9 * (predicted - began)) * 0.9


async def test_a_pause_ends_at_the_deadline() -> None:
    restraint = Restraint()
    restraint.note_picture()
    deadline = Deadline.after_ms(1)
    async with restraint.slot(deadline):
        await asyncio.sleep(0.01)
        assert deadline.left_s < 0
        restraint.note_picture()
