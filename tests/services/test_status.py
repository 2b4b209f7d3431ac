"""`/health/status`: one prediction for all who ask, so that strangers cannot starve callers."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from elastic_yolo.lab.load.wire import ResponseReader, Target
from elastic_yolo.lab.processes.stack import Service, Stack
from elastic_yolo.tiers import TIERS
from services.common.core.status import FRESH_FAILURE_S, FRESH_S, SharedStatus
from services.common.request.context import Deadline, RequestContext
from services.common.request.errors import DeadlineExceeded, TooManyRequests, Unavailable
from tests.support.clock import Clock
from tests.support.misbehaving import until
from tests.support.pictures import encode, plain
from tests.support.tiny import write_tiny_model

pytestmark = pytest.mark.anyio

TOKEN = "a long enough token"  # noqa: S105
PICTURE = encode(plain(64, 48), "JPEG")
PICTURES = 20


class Check:
    """A check that ends when it is told to, and counts how often it runs."""

    def __init__(self) -> None:
        """Do not end."""
        self.runs: list[RequestContext] = []
        self.may_end = asyncio.Event()
        self.error: Exception | None = None
        self.cancelled = False

    async def __call__(self, context: RequestContext) -> dict[str, Any]:
        self.runs.append(context)
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if self.error is not None:
            raise self.error
        return {"found": len(self.runs)}


def caller(budget_ms: float = 60_000) -> RequestContext:
    return RequestContext("0" * 32, Deadline.after_ms(budget_ms))


async def test_all_who_ask_at_the_same_time_share_one_prediction() -> None:
    check = Check()
    status = SharedStatus(check, 60_000, Clock())
    asking = [asyncio.create_task(status.read(caller())) for _ in range(500)]
    await until(lambda: len(check.runs) == 1, "the check runs")
    check.may_end.set()

    assert await asyncio.gather(*asking) == [{"found": 1, "age_s": 0.0}] * 500
    assert len(check.runs) == 1


async def test_a_result_is_given_until_it_is_too_old_and_says_how_old_it_is() -> None:
    check, clock = Check(), Clock()
    check.may_end.set()
    status = SharedStatus(check, 60_000, clock)

    await status.read(caller())
    clock.now += FRESH_S - 0.1
    assert await status.read(caller()) == {"found": 1, "age_s": round(FRESH_S - 0.1, 1)}
    clock.now += 0.2
    assert await status.read(caller()) == {"found": 2, "age_s": 0.0}


@pytest.mark.parametrize("error", [Unavailable("wrong"), TooManyRequests("full", 3, "queue_full")])
async def test_a_failure_is_given_for_a_shorter_time(error: Exception) -> None:
    check, clock = Check(), Clock()
    check.may_end.set()
    check.error = error
    status = SharedStatus(check, 60_000, clock)

    for _ in range(3):
        with pytest.raises(type(error)) as raised:
            await status.read(caller())
        assert raised.value is error
    assert len(check.runs) == 1

    check.error = None
    clock.now += FRESH_FAILURE_S
    assert await status.read(caller()) == {"found": 2, "age_s": 0.0}


async def test_an_unexpected_error_of_the_check_is_unavailable_to_all() -> None:
    check = Check()
    check.may_end.set()
    check.error = ZeroDivisionError("a bug")
    status = SharedStatus(check, 60_000)

    for _ in range(2):
        with pytest.raises(Unavailable, match="the status check failed"):
            await status.read(caller())
    assert len(check.runs) == 1


async def test_a_caller_that_leaves_does_not_end_the_check_of_the_others() -> None:
    check = Check()
    status = SharedStatus(check, 60_000)
    first, second = (asyncio.create_task(status.read(caller())) for _ in range(2))
    await until(lambda: len(check.runs) == 1, "the check runs")

    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    check.may_end.set()

    assert (await second)["found"] == 1
    assert not check.cancelled


async def test_a_caller_waits_no_longer_than_its_deadline_and_the_check_goes_on() -> None:
    check = Check()
    status = SharedStatus(check, 60_000)
    patient = asyncio.create_task(status.read(caller()))

    with pytest.raises(DeadlineExceeded):
        await status.read(caller(budget_ms=20))
    check.may_end.set()

    assert (await patient)["found"] == 1
    assert check.runs[0].deadline.left_s > 10


async def test_a_check_ends_with_the_service() -> None:
    check = Check()
    status = SharedStatus(check, 60_000)
    asking = asyncio.create_task(status.read(caller()))
    await until(lambda: len(check.runs) == 1, "the check runs")

    status.close()

    with pytest.raises(asyncio.CancelledError):
        await asking
    assert check.cancelled


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("status")
    env = {"web": {"ACCESS_TOKEN": TOKEN, "MAX_IN_FLIGHT": "2"}}
    with Stack(model=write_tiny_model(folder / "model"), logs=folder, env=env) as running:
        yield running


@pytest.mark.parametrize("tier", TIERS)
def test_the_status_of_each_tier_says_how_old_it_is(stack: Stack, tier: str) -> None:
    url = f"{getattr(stack, tier).url}/health/status"

    first, second = httpx.get(url).json(), httpx.get(url).json()

    assert first.keys() == {"status", "uptime_s", "age_s", "model", "found"}
    assert 0 <= first["age_s"] <= second["age_s"] <= FRESH_S
    assert second["found"] == first["found"]


@pytest.mark.long
@pytest.mark.parametrize("tier", TIERS)
async def test_strangers_who_ask_for_the_status_do_not_starve_a_caller(
    stack: Stack, tier: str
) -> None:
    """The service web has room for two pictures: the caller's, and that of a status check."""
    before = {one.name: rss_bytes(one) for one in stack.services}
    predicted = predictions(stack)
    started = time.monotonic()
    statuses: list[int] = []
    asking: Service = getattr(stack, tier)
    async with httpx.AsyncClient(timeout=120, headers={"Authorization": f"Bearer {TOKEN}"}) as own:
        flood = [asyncio.create_task(ask_until_cancelled(asking, statuses)) for _ in range(300)]
        await until(lambda: len(statuses) > 300, "the flood has begun")
        answers = [
            await own.post(f"{stack.web.url}/inference", files={"image": PICTURE})
            for _ in range(PICTURES)
        ]
    grown = {one.name: rss_bytes(one) - before[one.name] for one in stack.services}
    for stranger in flood:
        stranger.cancel()
    await asyncio.gather(*flood, return_exceptions=True)
    checks = predictions(stack) - predicted - PICTURES

    assert {answer.status_code for answer in answers} == {200}
    assert all(answer.json()["data"] for answer in answers)
    assert set(statuses) == {200}
    assert checks <= 1 + (time.monotonic() - started) / FRESH_S
    assert max(grown.values()) < 64_000_000, grown


async def ask_until_cancelled(service: Service, statuses: list[int]) -> None:
    """Ask on one connection, again after every response."""
    request = Target(f"{service.url}/health/status", method="GET").request(b"")
    streams, writer = await asyncio.open_connection("127.0.0.1", service.port)
    responses = ResponseReader()
    try:
        while True:
            writer.write(request)
            while (response := responses.feed(await streams.read(65536))) is None:
                pass
            statuses.append(response.status)
    finally:
        writer.close()


def predictions(stack: Stack) -> float:
    """Return how often the engine has run."""
    text = httpx.get(f"{stack.inference.url}/metrics", timeout=60).text
    name = "elastic_yolo_engine_run_seconds_count{"
    return sum(float(line.split()[1]) for line in text.splitlines() if line.startswith(name))


def rss_bytes(service: Service) -> int:
    status = Path(f"/proc/{service.process.pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024
