"""A load client that takes as little of the CPU as Python can: requests on bare connections."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple, cast

from elastic_yolo.lab.load.expected import Expected, WrongAnswer
from elastic_yolo.lab.load.wire import Answer, AnswerReader, NotUnderstood, Target

# How long an answer may take before the connection is given up.
PATIENCE_S = 60.0
# More than any queue behind it is long, less than what a service accepts.
MAX_CONNECTIONS = 1024
LOST = 0
"""The status of a request whose connection ended, or that nobody answered in time."""


class Sample(NamedTuple):
    """One request: when it was due in seconds since the start, and what became of it."""

    scheduled_s: float
    latency_ms: float
    """From when it was due to when the answer was complete: waiting for its turn counts."""
    status: int
    correct: bool
    retry_after_s: int | None


class _Connection(asyncio.Protocol):
    """One keep-alive connection, used by one request at a time."""

    def __init__(self) -> None:
        self._reader = AnswerReader()
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Answer] | None = None

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            answer = self._reader.feed(data)
        except NotUnderstood as error:
            self._fail(error)
            self.close()
            return
        if answer is None:
            return
        if answer.closes:
            self.close()
        if self._waiting and not self._waiting.done():
            self._waiting.set_result(answer)

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(ConnectionResetError(str(error or "closed before the answer")))

    def send(self, request: bytes) -> asyncio.Future[Answer]:
        assert self._transport is not None
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._waiting

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _fail(self, error: Exception) -> None:
        if self._waiting and not self._waiting.done():
            self._waiting.set_exception(error)


@dataclass(frozen=True)
class Pace:
    """How requests of an open loop follow each other."""

    rate: float
    """Requests a second."""
    seconds: float
    poisson: bool = True
    """At random, as independent callers come; or one after the other at equal distances."""

    def times(self, seed: int = 0) -> list[float]:
        """Return when requests are due, in seconds since the start."""
        if not self.poisson:
            return [number / self.rate for number in range(int(self.rate * self.seconds))]
        chance = random.Random(seed)  # noqa: S311  # arrivals, not secrets
        due, times = chance.expovariate(self.rate), []
        while due < self.seconds:
            times.append(due)
            due += chance.expovariate(self.rate)
        return times


class Client:
    """Sends one picture again and again, and looks at every answer."""

    def __init__(self, target: Target, picture: bytes, expected: Expected | None = None) -> None:
        """Prepare; without `expected`, any 200 counts as correct."""
        self._host, self._port = target.address
        self._request = target.request(picture)
        self._expected = expected
        self._idle: deque[_Connection] = deque()

    async def ask(self) -> Answer:
        """Send one request and return the answer; raises OSError, TimeoutError or NotUnderstood."""
        connection = await self._connection()
        try:
            async with asyncio.timeout(PATIENCE_S):
                answer = await connection.send(self._request)
        except BaseException:
            connection.close()
            raise
        if connection.usable:
            self._idle.append(connection)
        return answer

    async def closed_loop(self, concurrency: int, seconds: float) -> list[Sample]:
        """Keep `concurrency` requests under way for so many seconds."""
        samples: list[Sample] = []
        start = time.perf_counter()

        async def caller() -> None:
            while (due := time.perf_counter() - start) < seconds:
                samples.append(await self._sample(start, due))

        async with asyncio.TaskGroup() as callers:
            for _ in range(concurrency):
                callers.create_task(caller())
        return samples

    async def open_loop(self, pace: Pace) -> list[Sample]:
        """Send requests when they are due, whether or not earlier ones have been answered."""
        samples: list[Sample] = []
        room = asyncio.Semaphore(MAX_CONNECTIONS)

        async def send(start: float, due: float) -> None:
            async with room:
                samples.append(await self._sample(start, due))

        start = time.perf_counter()
        async with asyncio.TaskGroup() as requests:
            for due in pace.times():
                wait_s = start + due - time.perf_counter()
                if wait_s > 0:
                    await asyncio.sleep(wait_s)
                requests.create_task(send(start, due))
        return samples

    def close(self) -> None:
        """Close what is open."""
        while self._idle:
            self._idle.pop().close()

    async def _sample(self, start: float, due: float) -> Sample:
        try:
            answer = await self.ask()
        except (OSError, TimeoutError):
            latency_ms = (time.perf_counter() - start - due) * 1000
            return Sample(due, latency_ms, LOST, correct=False, retry_after_s=None)
        latency_ms = (time.perf_counter() - start - due) * 1000
        correct = answer.status == 200 and (
            self._expected is None or self._expected.matches(answer.body)
        )
        return Sample(due, latency_ms, answer.status, correct, answer.retry_after_s)

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, self._host, self._port)
        return connection


async def first_answer(target: Target, picture: bytes) -> Expected:
    """Return what a picture is answered with; raises WrongAnswer, OSError or TimeoutError."""
    client = Client(target, picture)
    try:
        answer = await client.ask()
    finally:
        client.close()
    if answer.status != 200:
        raise WrongAnswer(f"{target.url} answered {answer.status}: {answer.body[:200]!r}")
    return Expected(answer.body)
