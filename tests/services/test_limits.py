"""Limits of each client: the arithmetic, the stores, and what web answers."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Literal

import anyio
import anyio.lowlevel
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from elastic_yolo.api_key import key_digest, new_key
from elastic_yolo.lab.processes.stack import Service, Stack, free_port
from services.common.request.errors import Unavailable
from services.common.request.identity import Identity, Limits
from services.web.limits.gate import name_client
from services.web.limits.headers import describe_left, describe_policies
from services.web.limits.redis_store import RedisStore
from services.web.limits.stores import Grant, MemoryStore
from services.web.limits.usage import DAY_S, Usage
from tests.support.clock import Clock
from tests.support.pictures import encode, plain
from tests.support.raw import status_without_body
from tests.support.redis_server import RedisServer, redis_server
from tests.support.tiny import write_tiny_model
from tests.support.versions import sample
from tests.support.waiting import wait_until

JPEG = encode(plain(64, 48), "JPEG")
KEY, FREE_KEY = new_key(), new_key()
# Steps of time that floating point represents exactly, as it does these rates.
STEPS = st.lists(st.integers(0, 24).map(lambda eighths: eighths / 8), max_size=60)
RATES = st.sampled_from([0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0])


class Schedule:
    """The oracle: no bucket, but the moment from which the next picture conforms (ITU-T I.371).

    Each picture moves it by 1 / rate, and it may lie ahead by that of all but one of a burst.
    """

    def __init__(self, rate: float, burst: int) -> None:
        """Take pictures from the beginning of time."""
        self._interval = 1 / Fraction(rate)
        self._ahead = self._interval * (burst - 1)
        self._due = Fraction(0)

    def wait_s(self, now: float) -> Fraction:
        """Return in how many seconds a picture conforms; 0 or less: now."""
        return self._due - self._ahead - Fraction(now)

    def take(self, now: float) -> bool:
        if self.wait_s(now) > 0:
            return False
        self._due = max(self._due, Fraction(now)) + self._interval
        return True


@given(RATES, st.integers(1, 6), STEPS)
def test_the_bucket_lets_in_what_the_rate_and_the_burst_allow(
    rate: float, burst: int, steps: list[float]
) -> None:
    usage, oracle, now = Usage(), Schedule(rate, burst), 1000.0
    for step in steps:
        now += step
        verdict = usage.take(Limits(rate, burst), now)
        usage.in_progress = 0

        assert (verdict.refusal is None) == oracle.take(now)


@given(RATES, st.integers(1, 6), STEPS)
def test_retry_after_is_the_first_whole_second_at_which_a_picture_is_let_in(
    rate: float, burst: int, steps: list[float]
) -> None:
    limits = Limits(rate, burst)
    usage, oracle, now = Usage(), Schedule(rate, burst), 1000.0
    for step in steps:
        now += step
        verdict = usage.take(limits, now)
        if verdict.refusal is None:
            oracle.take(now)
        else:
            assert verdict.retry_after_s(limits) == max(1, math.ceil(oracle.wait_s(now)))


def test_a_burst_is_by_default_that_of_a_second() -> None:
    def burst(rate: float) -> int:
        usage = Usage()
        return sum(usage.take(Limits(rate), 5.0).refusal is None for _ in range(30))

    assert [burst(rate) for rate in (0.1, 1, 2.5, 20)] == [1, 1, 3, 20]


def test_a_day_ends_at_midnight_utc() -> None:
    usage, limits, midnight = Usage(), Limits(daily=2), 20_000 * DAY_S
    verdicts = [usage.take(limits, midnight - 90.5) for _ in range(3)]
    again = usage.take(limits, midnight)

    assert [verdict.refusal for verdict in verdicts] == [None, None, "daily_limit"]
    assert verdicts[-1].retry_after_s(limits) == 91
    assert (again.refusal, again.used_today) == (None, 1)


def test_a_refused_picture_uses_up_nothing() -> None:
    usage, limits = Usage(), Limits(rate=1, burst=5, concurrency=1, daily=10)
    usage.take(limits, 5.0)
    for _ in range(20):
        assert usage.take(limits, 5.0).refusal == "concurrency_limit"
    usage.in_progress = 0

    verdict = usage.take(limits, 5.0)
    assert (verdict.tokens, verdict.used_today) == (3, 2)


def test_a_clock_that_is_set_back_takes_and_gives_nothing() -> None:
    usage, limits = Usage(), Limits(rate=1, burst=2)
    usage.take(limits, 1000.0)

    assert usage.take(limits, 900.0).refusal is None
    assert usage.take(limits, 999.0).refusal == "rate_limit"
    assert usage.take(limits, 1001.0).refusal is None


def test_nobody_waits_for_a_time_that_a_wrong_clock_has_shown() -> None:
    """A machine that starts with a clock years ahead, and learns the time later."""
    usage, limits, now = Usage(), Limits(rate=1, burst=1, daily=2), 20_000.5 * DAY_S
    for seconds in range(2):
        assert usage.take(limits, now + 1000 * DAY_S + seconds).refusal is None

    assert usage.take(limits, now).refusal == "rate_limit"
    assert usage.take(limits, now + 1).refusal is None
    assert usage.take(limits, now + 2).refusal is None
    assert usage.take(limits, now + 3).refusal == "daily_limit"


def test_the_headers_state_each_limit_and_what_is_left() -> None:
    """As draft-ietf-httpapi-ratelimit-headers-11 writes them."""
    limits = Limits(rate=0.5, burst=4, concurrency=2, daily=1000)
    usage = Usage()
    verdict = usage.take(limits, 20_000 * DAY_S + 100.25)

    assert describe_policies(limits) == (
        '"rate";q=4;w=8, "concurrency";q=2;qu="concurrent-requests", "daily";q=1000;w=86400'
    )
    assert describe_left(limits, verdict) == (
        '"rate";r=3;t=2, "concurrency";r=1, "daily";r=999;t=86300'
    )


@pytest.mark.anyio
async def test_invented_clients_take_bounded_memory_and_displace_no_picture_in_progress() -> None:
    clock = Clock()
    store, limits = MemoryStore(clock, most=100), Limits(rate=0.001, burst=1, concurrency=1)
    busy = await store.take("busy", limits)
    for number in range(1000):
        (await store.take(f"invented-{number}", limits)).give_back()

    assert store.clients == 100
    assert (await store.take("busy", limits)).verdict.refusal == "concurrency_limit"
    busy.give_back()
    assert (await store.take("busy", limits)).verdict.refusal == "rate_limit"


@pytest.mark.anyio
async def test_clients_whose_bucket_is_full_again_are_forgotten() -> None:
    clock = Clock()
    store, limits = MemoryStore(clock), Limits(rate=1, burst=2)
    for number in range(50):
        (await store.take(f"client-{number}", limits)).give_back()
    clock.now += 2
    for number in range(10):
        (await store.take(f"later-{number}", limits)).give_back()

    assert store.clients == 10


# With a real Redis.


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as running:
        yield running


def url_of(server: RedisServer) -> str:
    return f"redis://127.0.0.1:{server.port}/0"


@asynccontextmanager
async def redis_store(
    server: RedisServer, clock: Clock, longest_s: float = 10
) -> AsyncIterator[RedisStore]:
    # Patient with a busy machine: these tests are about what it counts.
    store = RedisStore(url_of(server), "closed", longest_s, clock, timeout_s=60)
    try:
        yield store
    finally:
        await store.close()


@given(
    st.builds(
        Limits,
        st.none() | RATES,
        st.none() | st.integers(1, 5),
        st.none() | st.integers(1, 3),
        st.none() | st.integers(1, 8),
    ),
    STEPS,
    st.lists(st.booleans(), min_size=60, max_size=60),
)
def test_redis_counts_as_a_process_does(
    server: RedisServer, limits: Limits, steps: list[float], ends: list[bool]
) -> None:
    """Pictures that end at once and pictures that stay; over midnight, too."""

    async def compare() -> None:
        server.client.flushall()
        clock = Clock()
        # Longer than all steps: no picture is taken for that of a killed process.
        clock.now = 20_000 * DAY_S - 20.0
        async with redis_store(server, clock, longest_s=1000) as shared:
            alone = MemoryStore(clock)
            for step, end in zip(steps, ends, strict=False):
                clock.now += step
                here, there = await alone.take("a", limits), await shared.take("a", limits)
                assert there.verdict.refusal == here.verdict.refusal
                assert describe_left(limits, there.verdict) == describe_left(limits, here.verdict)
                if end:
                    here.give_back()
                    there.give_back()
                    while limits.concurrency and there.verdict.refusal is None:
                        await anyio.lowlevel.checkpoint()
                        if not shared._tasks:  # noqa: SLF001  # the picture is given back
                            break

    anyio.run(compare)


@pytest.mark.anyio
async def test_redis_forgets_a_time_that_a_wrong_clock_has_shown(server: RedisServer) -> None:
    server.client.flushall()
    clock, limits = Clock(), Limits(rate=1, burst=1, daily=1)
    async with redis_store(server, clock) as store:
        clock.now = 21_000.5 * DAY_S
        await store.take("a", limits)
        clock.now = 20_000.5 * DAY_S
        refused = (await store.take("a", limits)).verdict
        clock.now += 1

        assert refused.refusal == "rate_limit"
        assert (await store.take("a", limits)).verdict.refusal is None


@pytest.mark.anyio
async def test_pictures_of_a_killed_process_end_when_they_would_have_ended_at_the_latest(
    server: RedisServer,
) -> None:
    clock, limits = Clock(), Limits(concurrency=1)
    async with redis_store(server, clock, longest_s=10) as killed:
        await killed.take("crash", limits)
    async with redis_store(server, clock, longest_s=10) as store:
        clock.now += 14
        assert (await store.take("crash", limits)).verdict.refusal == "concurrency_limit"
        clock.now += 2
        assert (await store.take("crash", limits)).verdict.refusal is None


@pytest.mark.anyio
async def test_what_is_in_redis_expires(server: RedisServer) -> None:
    server.client.flushall()
    limits = Limits(rate=1, burst=2, concurrency=1)
    store = RedisStore(url_of(server), "closed", 10)
    await store.take("expires", limits)
    await store.close()

    names = server.client.keys("*")
    assert len(names) == 2
    assert all(0 < server.client.ttl(name) <= 17 for name in names)
    # A hash tag: both are on one node of a cluster. The client's name is not readable.
    tags = {re.search(rb"\{(.+)\}", name)[1] for name in names}  # type: ignore[index]
    assert len(tags) == 1
    assert b"expires" not in b"".join(names)


@pytest.mark.anyio
@pytest.mark.parametrize(("when_down", "said"), [("open", "alone"), ("closed", "503")])
async def test_the_log_says_what_happens_without_redis(
    when_down: Literal["open", "closed"], said: str
) -> None:
    store = RedisStore(f"redis://127.0.0.1:{free_port()}", when_down, 10)
    with capture_logs() as logged:
        for _ in range(2):
            with suppress(Unavailable):
                await store.take("a", Limits(rate=1))
    await store.close()

    assert [line["event"] for line in logged] == ["LIMIT_REDIS_URL: no response"]
    assert said in logged[0]["meanwhile"]


async def take_when_redis_responds(store: RedisStore, limits: Limits) -> Grant:
    """Take one picture; on a busy machine Redis may respond too late at first."""
    with anyio.fail_after(60):
        while True:
            try:
                return await store.take("a", limits)
            except Unavailable:
                await anyio.sleep(0.05)


@pytest.mark.anyio
async def test_a_redis_that_hangs_delays_one_moment_of_pictures_only(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        store = RedisStore(url_of(server), "closed", 10)
        limits = Limits(rate=1000)
        await take_when_redis_responds(store, limits)
        server.pause()
        try:
            with pytest.raises(Unavailable):
                await store.take("a", limits)
            # From now on nothing is sent: a thousand that wait would take minutes.
            with anyio.fail_after(60):
                for _ in range(1000):
                    with pytest.raises(Unavailable):
                        await store.take("a", limits)
        finally:
            server.go_on()
        grant = await take_when_redis_responds(store, limits)
        await store.close()

    assert grant.verdict.refusal is None


@pytest.mark.anyio
async def test_pictures_of_the_moment_in_which_redis_hangs_do_not_count_afterwards(
    tmp_path: Path,
) -> None:
    """It runs what it was sent when nobody waits for that any more; the lease is an hour here."""
    with redis_server(tmp_path) as server:
        store = RedisStore(url_of(server), "open", 3600)
        limits = Limits(concurrency=2)
        in_progress = await store.take("a", limits)
        server.pause()
        try:
            meanwhile = await store.take("a", limits)
            in_progress.give_back()
            meanwhile.give_back()
            with anyio.fail_after(60):
                while store.owed < 2:  # noqa: ASYNC110  # there is no event to wait for
                    await anyio.sleep(0.01)
        finally:
            server.go_on()
        with anyio.fail_after(60):
            while store.owed:  # noqa: ASYNC110  # as above
                await anyio.sleep(0.01)
        await anyio.sleep(0.2)

        assert server.client.keys("*:now") == []
        await store.close()


# With the services.


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Web lets each client send four pictures in an hour; `free` has limits of its own."""
    folder = tmp_path_factory.mktemp("limits")
    path = folder / "keys.yaml"
    clients = [
        {"name": "usual", "keys": [{"sha256": key_digest(KEY)}]},
        {"name": "free", "keys": [{"sha256": key_digest(FREE_KEY)}], "limits": {"daily": 1000}},
    ]
    path.write_text(json.dumps({"clients": clients}))
    env = {"web": {"API_KEYS_FILE": str(path), "LIMIT_RATE": "0.0002", "LIMIT_BURST": "4"}}
    with Stack(model=write_tiny_model(folder / "tiny"), logs=folder, env=env) as running:
        yield running


def post(web: Service, key: str | None = None, body: bytes = JPEG) -> httpx.Response:
    headers = {"Content-Type": "image/jpeg", **({"X-API-Key": key} if key else {})}
    return httpx.post(f"{web.url}/inference", content=body, headers=headers, timeout=60)


def test_each_client_has_its_limits(stack: Stack) -> None:
    answers = [post(stack.web, KEY) for _ in range(4)]
    refused = post(stack.web, KEY)
    early = status_without_body(stack.web, "/inference", 10_000_000, f"X-API-Key: {KEY}\r\n")
    free = [post(stack.web, FREE_KEY, body) for body in (JPEG, b"no picture")]
    unknown = post(stack.web, "unknown")

    assert [answer.status_code for answer in answers] == [200] * 4
    assert [answer.headers["ratelimit"][:10] for answer in answers] == [
        f'"rate";r={left}' for left in (3, 2, 1, 0)
    ]
    assert answers[0].headers["ratelimit-policy"] == '"rate";q=4;w=20000'
    assert refused.status_code == early == 429
    assert refused.json()["detail"].startswith("more than 0.0002 pictures per second from this")
    again_s = int(refused.headers["retry-after"])
    assert 4900 < again_s <= 5000
    assert refused.headers["ratelimit"] == f'"rate";r=0;t={again_s}'
    # Also for a picture that is refused later.
    assert [answer.status_code for answer in free] == [200, 415]
    assert free[1].headers["ratelimit"].startswith('"daily";r=998;t=')
    assert unknown.status_code == 401
    assert "ratelimit" not in unknown.headers


def test_without_identity_a_client_is_an_address(tmp_path: Path) -> None:
    settings = {"PREPROCESS_URL": "http://127.0.0.1:1", "LIMIT_DAILY": "2"}
    with Service("web", free_port(), settings, tmp_path / "log") as web:
        wait_until(lambda: "listening" in (tmp_path / "log").read_text(), "it listens")

        def statuses(address: str) -> list[int]:
            transport = httpx.HTTPTransport(local_address=address)
            with httpx.Client(transport=transport, base_url=web.url) as client:
                # 415: it was let in.
                return [client.post("/inference", content=b"x").status_code for _ in range(3)]

        assert statuses("127.0.0.1") == [415, 415, 429]
        assert statuses("127.0.0.2") == [415, 415, 429]
        # Metrics and the live view have refused pictures among those of the route.
        counted = sample(web, "elastic_yolo_requests_total", route="/inference", status="429")
        assert counted == 2


def test_an_ipv6_network_is_one_client_and_an_identity_is_one_anywhere() -> None:
    """Its owner could take another of 2^64 addresses for each picture."""
    assert name_client(None, "2001:db8:0:1::5") == name_client(None, "2001:db8:0:1:ff::7")
    assert name_client(None, "2001:db8:0:1::5") != name_client(None, "2001:db8:0:2::5")
    assert name_client(None, "::ffff:192.0.2.1") != name_client(None, "::ffff:192.0.2.2")
    assert name_client(Identity("key", "a", "a"), "192.0.2.1") == "key:a"
    # A token's claims cannot use up the limits of a key of the same name.
    assert name_client(Identity("token", "a", "a"), "192.0.2.1") == "token:a"


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[RedisServer, list[Service]]]:
    """Two web processes with one Redis; each client may send 20 pictures a day."""
    # A disk that others use may take longer than web waits.
    with redis_server(tmp_path / "redis", {"appendfsync": "no"}) as server:
        settings = {
            "PREPROCESS_URL": "http://127.0.0.1:1",
            "LIMIT_DAILY": "20",
            "LIMIT_REDIS_URL": url_of(server),
        }
        first = Service("web", free_port(), settings, tmp_path / "first")
        closed = {**settings, "LIMIT_REDIS_DOWN": "closed"}
        second = Service("web", free_port(), closed, tmp_path / "second")
        with first, second:
            for log in (tmp_path / "first", tmp_path / "second"):
                wait_until(lambda log=log: "listening" in log.read_text(), "it listens")
            yield server, [first, second]


def send(web: Service, address: str = "127.0.0.1") -> httpx.Response:
    """Send what is refused with 415 behind the limits, from an address of this machine."""
    transport = httpx.HTTPTransport(local_address=address)
    with httpx.Client(transport=transport, timeout=60) as client:
        return client.post(f"{web.url}/inference", content=b"x")


def redis_is_up(web: Service) -> float:
    return sample(web, "elastic_yolo_limit_redis_up")


def test_limits_hold_across_two_processes(pair: tuple[RedisServer, list[Service]]) -> None:
    """Tried again, as another client, if Redis responded too late on a busy machine."""
    _, services = pair
    for number in range(2, 12):
        with ThreadPoolExecutor(2) as threads:
            as_client = partial(send, address=f"127.0.0.{number}")
            answers = list(threads.map(as_client, services * 30))
        if all(redis_is_up(web) for web in services) and 503 not in {
            answer.status_code for answer in answers
        }:
            break

    assert Counter(answer.status_code for answer in answers) == {415: 20, 429: 40}
    left = {answer.headers["ratelimit"].split(";")[1] for answer in answers}
    assert left == {f"r={number}" for number in range(20)}


def test_without_redis_each_process_does_what_its_setting_says(
    pair: tuple[RedisServer, list[Service]],
) -> None:
    server, (alone, closed) = pair
    assert send(alone).status_code == send(closed).status_code == 415
    before = [redis_is_up(web) for web in (alone, closed)]
    server.kill()
    opened = [send(alone).status_code for _ in range(25)]
    refused = [send(closed) for _ in range(5)]
    without = [redis_is_up(web) for web in (alone, closed)]
    server.start()
    wait_until(lambda: send(closed).status_code == 415, "Redis is used again")
    after = redis_is_up(closed)

    assert (before, without, after) == ([1, 1], [0, 0], 1)
    # It counts from the beginning, for itself.
    assert opened == [415] * 20 + [429] * 5
    assert {answer.status_code for answer in refused} == {503}
    assert {answer.headers["retry-after"] for answer in refused} == {"1"}
    assert refused[0].json()["detail"] == "the limits of this client cannot be checked"
    assert "Traceback" not in (alone.log.read_text() + closed.log.read_text())  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ({"LIMIT_BURST": "4"}, "LIMIT_BURST: has no effect without LIMIT_RATE"),
        ({"LIMIT_RATE": "0"}, "LIMIT_RATE: Input should be greater than 0"),
        ({"LIMIT_REDIS_URL": "http://me:secret@host"}, "LIMIT_REDIS_URL: expected redis://"),
        ({"LIMIT_REDIS_URL": "redis://host:port"}, "LIMIT_REDIS_URL: Port could not be cast"),
        ({"LIMIT_REDIS_DOWN": "ajar"}, "LIMIT_REDIS_DOWN: Input should be 'open' or 'closed'"),
    ],
)
def test_an_invalid_limit_stops_the_start(
    tmp_path: Path, setting: dict[str, str], line: str
) -> None:
    log = tmp_path / "log"
    settings = {"PREPROCESS_URL": "http://127.0.0.1:1", **setting}
    with Service("web", free_port(), settings, log) as web:
        assert web.process.wait(60) == 2

    assert log.read_text().startswith(line)
    assert "secret" not in log.read_text()
