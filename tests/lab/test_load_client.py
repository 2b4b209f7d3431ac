"""The load client against a real server of a few lines, which answers when and what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from elastic_yolo.lab.load.client import LOST, Client, Pace, first_answer
from elastic_yolo.lab.load.expected import Expected, WrongAnswer
from elastic_yolo.lab.load.wire import Target

PICTURE = b"picture"
GOOD = b'{"data": [["bird", 0.9, [1, 2, 3, 4]]]}'
BAD = b'{"data": []}'


def answer(body: bytes, status: str = "200 OK", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


class Server:
    """Answers request number n with `script(n)`; nothing at all where that is empty."""

    def __init__(self, script: Callable[[int], bytes], delay_s: float = 0.0) -> None:
        """Take `delay_s` seconds for each."""
        self.script = script
        self.delay_s = delay_s
        self.requests = 0
        self.connections = 0
        self.most_at_once = 0
        self._at_once = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with_body = len(PICTURE)
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                assert await reader.readexactly(with_body) == PICTURE
                number, self.requests = self.requests, self.requests + 1
                self._at_once += 1
                self.most_at_once = max(self.most_at_once, self._at_once)
                await asyncio.sleep(self.delay_s)
                self._at_once -= 1
                said = self.script(number)
                writer.write(said)
                if not said or b"close" in said:
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


def closed(server: Server, concurrency: int, seconds: float) -> list[tuple[int, bool]]:
    async def run() -> list[tuple[int, bool]]:
        async with server.listen() as target:
            client = Client(target, PICTURE, Expected(GOOD))
            samples = await client.closed_loop(concurrency, seconds)
            client.close()
        return [(sample.status, sample.correct) for sample in samples]

    return asyncio.run(run())


def test_a_closed_loop_keeps_so_many_requests_under_way_on_as_many_connections() -> None:
    server = Server(lambda _: answer(GOOD), delay_s=0.01)

    samples = closed(server, concurrency=3, seconds=0.1)

    assert (server.most_at_once, server.connections) == (3, 3)
    assert len(samples) == server.requests
    assert set(samples) == {(200, True)}


def test_statuses_and_wrong_answers_are_told_apart() -> None:
    said = [answer(GOOD), answer(BAD), answer(b"", "503 Busy")]

    samples = closed(Server(lambda n: said[n % 3], delay_s=0.002), concurrency=1, seconds=0.1)

    assert samples[:3] == [(200, True), (200, False), (503, False)]


def test_a_lost_connection_is_an_error_and_the_next_request_gets_a_new_one() -> None:
    server = Server(lambda n: b"" if n == 1 else answer(GOOD), delay_s=0.002)

    samples = closed(server, concurrency=1, seconds=0.1)

    assert samples[:3] == [(200, True), (LOST, False), (200, True)]
    assert server.connections == 2


def test_a_server_that_closes_after_its_answer_is_connected_to_again() -> None:
    server = Server(lambda _: answer(GOOD, more="Connection: close\r\n"), delay_s=0.002)

    samples = closed(server, concurrency=1, seconds=0.05)

    assert set(samples) == {(200, True)}
    assert server.connections == server.requests


def test_an_open_loop_sends_when_requests_are_due_and_counts_from_then_on() -> None:
    """Ten requests, due every 10 ms, to a server that takes 50 ms: none waits for another."""
    server = Server(lambda _: answer(GOOD), delay_s=0.05)

    async def run() -> list[tuple[float, float]]:
        async with server.listen() as target:
            client = Client(target, PICTURE, Expected(GOOD))
            samples = await client.open_loop(Pace(rate=100, seconds=0.1, poisson=False))
            client.close()
        return [(sample.scheduled_s, sample.latency_ms) for sample in samples]

    samples = sorted(asyncio.run(run()))

    assert [due for due, _ in samples] == pytest.approx([n / 100 for n in range(10)])
    assert all(latency >= 49 for _, latency in samples)
    assert server.most_at_once > 1


def test_a_refusal_says_when_to_come_again() -> None:
    server = Server(lambda _: answer(b"", "429 Too Many Requests", "Retry-After: 2\r\n"))

    async def run() -> list[int | None]:
        async with server.listen() as target:
            client = Client(target, PICTURE)
            samples = await client.open_loop(Pace(rate=100, seconds=0.03, poisson=False))
            client.close()
        return [sample.retry_after_s for sample in samples]

    assert asyncio.run(run()) == [2, 2, 2]


def test_the_first_answer_must_be_one() -> None:
    async def run() -> None:
        async with Server(lambda _: answer(b"{}", "404 Not Found")).listen() as target:
            await first_answer(target, PICTURE)

    with pytest.raises(WrongAnswer, match="answered 404"):
        asyncio.run(run())


def test_arrivals_at_random_come_at_the_rate_and_are_the_same_every_time() -> None:
    pace = Pace(rate=1000, seconds=10)

    times = pace.times()

    assert times == pace.times() == sorted(times)
    assert len(times) == pytest.approx(10_000, rel=0.05)
    assert times[-1] < 10
