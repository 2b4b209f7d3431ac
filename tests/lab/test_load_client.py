"""The load client against a small real server that responds as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from elastic_yolo.lab.load.client import LOST, Client, Schedule, first_response
from elastic_yolo.lab.load.expected import Expected, WrongResponse
from elastic_yolo.lab.load.wire import Target

PICTURE = b"picture"
GOOD = b'{"data": [["bird", 0.9, [1, 2, 3, 4]]]}'
BAD = b'{"data": []}'


def response(body: bytes, status: str = "200 OK", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


class Server:
    """Responds to request number n with `script(n)`; closes the connection if that is empty."""

    def __init__(self, script: Callable[[int], bytes], delay_s: float = 0.0) -> None:
        """Take `delay_s` seconds for each."""
        self.script = script
        self.delay_s = delay_s
        self.requests = 0
        self.connections = 0
        self.most_concurrent = 0
        self._concurrent = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                assert await reader.readexactly(len(PICTURE)) == PICTURE
                number, self.requests = self.requests, self.requests + 1
                self._concurrent += 1
                self.most_concurrent = max(self.most_concurrent, self._concurrent)
                await asyncio.sleep(self.delay_s)
                self._concurrent -= 1
                sent = self.script(number)
                writer.write(sent)
                if not sent or b"close" in sent:
                    return
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[Target]:
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            yield Target(f"http://127.0.0.1:{port}/inference")


pytestmark = pytest.mark.anyio


async def closed(server: Server, concurrency: int, seconds: float) -> list[tuple[int, bool]]:
    """Return status and correctness of every response of a closed loop."""
    async with server.listen() as target:
        client = Client(target, PICTURE, Expected(GOOD))
        samples = await client.closed_loop(concurrency, seconds)
        client.close()
    return [(sample.status, sample.correct) for sample in samples]


async def test_a_closed_loop_keeps_one_connection_per_caller() -> None:
    server = Server(lambda _: response(GOOD), delay_s=0.01)

    samples = await closed(server, concurrency=3, seconds=0.1)

    assert (server.most_concurrent, server.connections) == (3, 3)
    assert len(samples) == server.requests
    assert set(samples) == {(200, True)}


async def test_failed_and_wrong_responses_are_told_apart() -> None:
    script = [response(GOOD), response(BAD), response(b"", "503 Busy")]

    samples = await closed(
        Server(lambda n: script[n % 3], delay_s=0.002), concurrency=1, seconds=0.1
    )

    assert samples[:3] == [(200, True), (200, False), (503, False)]


async def test_after_a_lost_connection_the_next_request_gets_a_new_one() -> None:
    server = Server(lambda n: b"" if n == 1 else response(GOOD), delay_s=0.002)

    samples = await closed(server, concurrency=1, seconds=0.1)

    assert samples[:3] == [(200, True), (LOST, False), (200, True)]
    assert server.connections == 2


async def test_after_connection_close_the_client_connects_again() -> None:
    server = Server(lambda _: response(GOOD, more="Connection: close\r\n"), delay_s=0.002)

    samples = await closed(server, concurrency=1, seconds=0.05)

    assert set(samples) == {(200, True)}
    assert server.connections == server.requests


async def test_an_open_loop_measures_from_when_a_request_was_due() -> None:
    """Ten requests, due every 10 ms, to a server that takes 50 ms: none waits for another."""
    server = Server(lambda _: response(GOOD), delay_s=0.05)

    async with server.listen() as target:
        client = Client(target, PICTURE, Expected(GOOD))
        samples = await client.open_loop(Schedule(rate=100, seconds=0.1, poisson=False))
        client.close()

    due = sorted(sample.scheduled_s for sample in samples)
    assert due == pytest.approx([n / 100 for n in range(10)])
    assert all(sample.latency_ms >= 49 for sample in samples)
    assert server.most_concurrent > 1


async def test_retry_after_of_a_rejection_is_read() -> None:
    server = Server(lambda _: response(b"", "429 Too Many Requests", "Retry-After: 2\r\n"))

    async with server.listen() as target:
        client = Client(target, PICTURE)
        samples = await client.open_loop(Schedule(rate=100, seconds=0.03, poisson=False))
        client.close()

    assert [sample.retry_after_s for sample in samples] == [2, 2, 2]


async def test_a_first_response_must_have_status_200() -> None:
    async with Server(lambda _: response(b"{}", "404 Not Found")).listen() as target:
        with pytest.raises(WrongResponse, match="returned 404"):
            await first_response(target, PICTURE)


def test_random_arrivals_keep_the_rate_and_repeat() -> None:
    schedule = Schedule(rate=1000, seconds=10)

    times = schedule.times()

    assert times == schedule.times() == sorted(times)
    assert len(times) == pytest.approx(10_000, rel=0.05)
    assert times[-1] < 10
