"""The HTTP load client: requests on plain connections, so that it takes little of the CPU.

The benchmarks' loops, the lab's load and the lab's probes all send their requests with it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple, cast

from elastic_yolo.lab.load.expected import Expected, WrongResponse
from elastic_yolo.lab.load.wire import Response, ResponseReader, Target, UnsupportedResponse
from elastic_yolo.printable import body_text

# A response that takes longer counts as lost, and its connection is closed.
RESPONSE_TIMEOUT_S = 60.0
# Above the length of the services' queues, below the number of connections that they accept.
MAX_CONNECTIONS = 1024
LOST = 0
"""The status of a request whose connection ended or timed out without a response."""


class Sample(NamedTuple):
    """One request: when it was due, in seconds since the start, and its outcome."""

    scheduled_s: float
    latency_ms: float
    """From when it was due until the response was complete: time spent waiting counts."""
    status: int
    correct: bool
    retry_after_s: int | None


class _Connection(asyncio.Protocol):
    """One keep-alive connection, which carries one request at a time."""

    def __init__(self) -> None:
        self._reader = ResponseReader()
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Response] | None = None

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            response = self._reader.feed(data)
        except UnsupportedResponse as error:
            self._fail(error)
            self.close()
            return
        if response is None:
            return
        if response.closes:
            self.close()
        if self._waiting and not self._waiting.done():
            self._waiting.set_result(response)

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(ConnectionResetError(str(error or "closed before the response")))

    def send(self, request: bytes) -> asyncio.Future[Response]:
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
class Schedule:
    """When the requests of an open loop are due."""

    rate: float
    """Requests per second."""
    seconds: float
    poisson: bool = True
    """Whether they come at random, as from independent callers, or at equal intervals."""

    def times(self, seed: int = 0) -> list[float]:
        """Return the times in seconds since the start, in ascending order."""
        if not self.poisson:
            return [number / self.rate for number in range(int(self.rate * self.seconds))]
        chance = random.Random(seed)  # noqa: S311  # arrivals, not secrets
        due, times = chance.expovariate(self.rate), []
        while due < self.seconds:
            times.append(due)
            due += chance.expovariate(self.rate)
        return times


class Client:
    """Sends one request any number of times and checks every response.

    Connections are kept open and reused.
    """

    def __init__(self, target: Target, body: bytes, expected: Expected | None = None) -> None:
        """Prepare the request; without `expected`, every status 200 counts as correct."""
        self._host, self._port = target.address
        self._request = target.request(body)
        self._expected = expected
        self._idle: deque[_Connection] = deque()

    async def round_trip(self) -> Response:
        """Send one request and return its response.

        Raises OSError, TimeoutError or UnsupportedResponse.
        """
        connection = await self._connection()
        try:
            async with asyncio.timeout(RESPONSE_TIMEOUT_S):
                response = await connection.send(self._request)
        except BaseException:
            connection.close()
            raise
        if connection.usable:
            self._idle.append(connection)
        return response

    async def closed_loop(self, concurrency: int, seconds: float) -> list[Sample]:
        """Keep `concurrency` requests in flight for `seconds`."""
        samples: list[Sample] = []
        start = time.perf_counter()

        async def caller() -> None:
            while (due := time.perf_counter() - start) < seconds:
                samples.append(await self._sample(start, due))

        async with asyncio.TaskGroup() as callers:
            for _ in range(concurrency):
                callers.create_task(caller())
        return samples

    async def open_loop(self, schedule: Schedule) -> list[Sample]:
        """Send requests when they are due, whether or not earlier ones have a response."""
        samples: list[Sample] = []
        room = asyncio.Semaphore(MAX_CONNECTIONS)

        async def send(start: float, due: float) -> None:
            async with room:
                samples.append(await self._sample(start, due))

        start = time.perf_counter()
        async with asyncio.TaskGroup() as requests:
            for due in schedule.times():
                wait_s = start + due - time.perf_counter()
                if wait_s > 0:
                    await asyncio.sleep(wait_s)
                requests.create_task(send(start, due))
        return samples

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().close()

    async def _sample(self, start: float, due: float) -> Sample:
        try:
            response = await self.round_trip()
        except (OSError, TimeoutError):
            latency_ms = (time.perf_counter() - start - due) * 1000
            return Sample(due, latency_ms, LOST, correct=False, retry_after_s=None)
        latency_ms = (time.perf_counter() - start - due) * 1000
        correct = response.status == 200 and (
            self._expected is None or self._expected.matches(response.body)
        )
        return Sample(due, latency_ms, response.status, correct, response.retry_after_s)

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, self._host, self._port)
        return connection


async def send_once(target: Target, body: bytes = b"") -> Response:
    """Send one request on a connection of its own and return the response.

    Raises OSError, TimeoutError or UnsupportedResponse.
    """
    client = Client(target, body)
    try:
        return await client.round_trip()
    finally:
        client.close()


async def first_response(target: Target, picture: bytes) -> Expected:
    """Return the detections of a picture; raises WrongResponse, OSError or TimeoutError."""
    response = await send_once(target, picture)
    if response.status != 200:
        raise WrongResponse(f"{target.url} returned {response.status}: {body_text(response.body)}")
    return Expected(response.body)
