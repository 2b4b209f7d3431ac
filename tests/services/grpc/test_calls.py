"""What all calls have in common, over real connections: deadlines, limits, errors, records."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc.aio
import pytest
from google.protobuf.message import Message
from prometheus_client import CollectorRegistry

from elastic_yolo.picture import errors as picture_errors
from services.common.core.problems import GRPC_CODE, INTERNAL_DETAIL, STATUS
from services.common.observe.telemetry import Metrics
from services.common.request import errors
from services.common.request.body import Bodies
from services.inference.grpc import open_inference_pb2 as pb
from services.inference.grpc.calls import Answer, Call, Calls

pytestmark = pytest.mark.anyio

PATH = "/a.Service/Method"
INFER = "/a.Service/Infer"
LIVE = pb.ServerLiveResponse(live=True)
CODE = grpc.StatusCode


@pytest.fixture(scope="module", autouse=True)
async def one_event_loop() -> AsyncIterator[asyncio.AbstractEventLoop]:
    """Keep the loop for all tests here: grpc.aio may still have events for one that is closed.

    All of them are async: pytest gives a test that is not no async fixture.
    """
    yield asyncio.get_running_loop()  # noqa: PT022  # the loop lives until this fixture ends


@dataclass
class Served:
    """A server in this event loop with one method, and a connection to it."""

    calls: Calls
    bodies: Bodies
    registry: CollectorRegistry
    channel: grpc.aio.Channel

    def start(
        self, message: bytes = b"", *, timeout: float | None = 20, **metadata: str
    ) -> grpc.aio.UnaryUnaryCall[bytes, bytes]:
        sent = tuple((key.replace("_", "-"), text) for key, text in metadata.items())
        return self.channel.unary_unary(PATH)(message, timeout=timeout, metadata=sent)

    def count(self, status: int) -> float | None:
        labels = {"service": "test", "route": PATH, "method": "gRPC", "status": str(status)}
        return self.registry.get_sample_value("elastic_yolo_requests_total", labels)

    def problems(self, reason: str) -> float | None:
        labels = {"service": "test", "reason": reason}
        return self.registry.get_sample_value("elastic_yolo_problems_total", labels)


@asynccontextmanager
async def serving(
    answer: Answer, *, longest_ms: int = 20_000, max_calls: int = 100, max_held_bytes: int = 10_000
) -> AsyncIterator[Served]:
    metrics, bodies = Metrics("test"), Bodies(max_held_bytes)
    calls = Calls(
        metrics=metrics, bodies=bodies, longest_ms=longest_ms, max_calls=max_calls, tracing=None
    )
    server = grpc.aio.server()
    handlers = {
        "Method": calls.handler(PATH, answer),
        "Infer": calls.handler(INFER, answer, takes_tensors=True),
        "Watch": calls.stream_handler(watch),
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("a.Service", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(
            f"127.0.0.1:{port}", [("grpc.enable_http_proxy", 0)]
        ) as channel:
            yield Served(calls, bodies, metrics.registry, channel)
    finally:
        await server.stop(None)


async def watch(_messages: AsyncIterator[bytes]) -> AsyncIterator[Message]:
    """Yield one response, and wait as long as the caller does."""
    yield LIVE
    await asyncio.Event().wait()


async def live(_call: Call, _message: bytes) -> Message:
    return LIVE


class Gate:
    """A method that answers when the gate opens, and tells what has become of its calls."""

    def __init__(self) -> None:
        """Start closed."""
        self.open = asyncio.Event()
        self.entered = 0
        self.cancelled = 0
        self.left_s: list[float] = []

    async def answer(self, call: Call, _message: bytes) -> Message:
        self.entered += 1
        self.left_s.append(call.context.deadline.left_s)
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return LIVE


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        # Calls arrive from another thread, which knows no asyncio.Event.
        while not fact():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


def failing(error: Exception) -> Answer:
    async def answer(_call: Call, _message: bytes) -> Message:
        raise error

    return answer


async def test_a_response_carries_the_request_id_and_the_timing() -> None:
    async with serving(live) as served:
        call = served.start(x_request_id="ab" * 16)
        response, metadata = await call, dict(await call.trailing_metadata())

        assert pb.ServerLiveResponse.FromString(response).live
        assert metadata["x-request-id"] == "ab" * 16
        assert str(metadata["server-timing"]).startswith("test;dur=")
        assert served.count(200) == 1


async def test_all_tests_here_share_a_loop(one_event_loop: asyncio.AbstractEventLoop) -> None:
    assert asyncio.get_running_loop() is one_event_loop


async def test_a_request_id_that_could_forge_log_lines_is_replaced() -> None:
    async with serving(live) as served:
        call = served.start(x_request_id="7\\n{}")
        await call

        assert len(dict(await call.trailing_metadata())["x-request-id"]) == 32


ERRORS = [
    (errors.MalformedRequest("m"), CODE.INVALID_ARGUMENT, 400),
    (errors.UnknownModel("m"), CODE.NOT_FOUND, 404),
    (errors.Unauthorized("m"), CODE.UNAUTHENTICATED, 401),
    (errors.ModelUnusable("m"), CODE.INVALID_ARGUMENT, 422),
    (errors.ParameterOutOfRange("m"), CODE.INVALID_ARGUMENT, 422),
    (errors.TooManyRequests("m", 3, "queue_full"), CODE.RESOURCE_EXHAUSTED, 429),
    (errors.Unavailable("m"), CODE.UNAVAILABLE, 503),
    (errors.DeadlineExceeded("m"), CODE.DEADLINE_EXCEEDED, 504),
    (picture_errors.NotAPicture("m"), CODE.INVALID_ARGUMENT, 415),
    (picture_errors.PictureTooLarge("m"), CODE.INVALID_ARGUMENT, 413),
    (picture_errors.PictureUndecodable("m"), CODE.INVALID_ARGUMENT, 422),
]


@pytest.mark.parametrize(("error", "code", "status"), ERRORS, ids=lambda one: type(one).__name__)
async def test_an_error_has_the_code_that_stands_for_its_http_status(
    error: Exception, code: grpc.StatusCode, status: int
) -> None:
    async with serving(failing(error)) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.start()
        await until(lambda: served.count(status) == 1)

    metadata = dict(caught.value.trailing_metadata())
    assert (caught.value.code(), caught.value.details()) == (code, "m")
    assert len(metadata["x-request-id"]) == 32
    assert metadata.get("retry-after") == {429: "3", 503: "1"}.get(status)


async def test_an_unexpected_error_reveals_nothing() -> None:
    async with serving(failing(RuntimeError("/etc/secret"))) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.start()
        await until(lambda: served.count(500) == 1)

    assert (caught.value.code(), caught.value.details()) == (CODE.INTERNAL, INTERNAL_DETAIL)


async def test_every_status_of_a_problem_has_a_grpc_code() -> None:
    assert {*STATUS.values()} <= {*GRPC_CODE} | {411}, "gRPC messages have a length"
    assert {*GRPC_CODE.values()} <= {code.name for code in CODE}


async def test_the_callers_deadline_is_that_of_the_request() -> None:
    gate = Gate()
    gate.open.set()
    async with serving(gate.answer, longest_ms=20_000) as served:
        await served.start(timeout=10)
        await served.start(timeout=None)
        await served.start(timeout=10, x_timeout_ms="5000")
        await served.start(timeout=5, x_timeout_ms="10000")

    assert [round(left_s) for left_s in gate.left_s] == [10, 20, 5, 5]


@pytest.mark.parametrize("metadata", [{}, {"x_timeout_ms": "60000"}], ids=len)
async def test_a_call_is_cancelled_at_the_callers_deadline(metadata: dict[str, str]) -> None:
    gate = Gate()
    async with serving(gate.answer) as served:
        await served.channel.channel_ready()
        call = served.start(timeout=2, **metadata)
        await until(lambda: gate.entered == 1)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        # The caller's clock began earlier: on a busy machine its cancellation arrives first, and
        # looks like any other.
        await until(lambda: (served.count(504) or 0) + (served.count(499) or 0) == 1)

        assert caught.value.code() is CODE.DEADLINE_EXCEEDED
        assert served.problems("deadline_exceeded") == served.count(504)
        assert gate.cancelled == gate.entered


async def test_a_call_that_its_caller_cancels_is_cancelled_here() -> None:
    gate = Gate()
    async with serving(gate.answer) as served:
        call = served.start(b"x" * 100)
        await until(lambda: gate.entered == 1)
        held = served.bodies.held_bytes
        call.cancel()
        await until(lambda: served.count(499) == 1)

        assert gate.cancelled == 1
        assert (held, served.bodies.held_bytes) == (100, 0)


async def test_a_connection_that_breaks_cancels_its_calls() -> None:
    gate = Gate()
    async with serving(gate.answer) as served:
        call = served.start()
        await until(lambda: gate.entered == 1)
        await served.channel.close(None)
        await until(lambda: served.count(499) == 1)

        assert call.cancelled()
        assert gate.cancelled == 1


async def test_one_call_more_than_the_limit_is_refused_with_the_time_to_try_again() -> None:
    gate = Gate()
    async with serving(gate.answer, max_calls=2) as served:
        waiting = [served.start() for _ in range(2)]
        await until(lambda: gate.entered == 2)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.start()
        gate.open.set()

        assert caught.value.code() is CODE.RESOURCE_EXHAUSTED
        assert dict(caught.value.trailing_metadata())["retry-after"] == "1"
        assert [await one for one in waiting] == [LIVE.SerializeToString()] * 2
        assert await served.start()


async def test_streams_without_end_take_no_calls_from_others() -> None:
    async with serving(live, max_calls=2) as served:
        method = served.channel.unary_stream("/a.Service/Watch")
        watchers = [method(b"") for _ in range(2)]
        for one in watchers:
            assert await one.read() == LIVE.SerializeToString()

        assert await method(b"").code() is CODE.RESOURCE_EXHAUSTED
        assert await served.start()
        watchers[0].cancel()
        await until(lambda: served.calls.open["streams"] == 1)
        assert await method(b"").read()


async def test_messages_count_as_held_together_with_bodies_of_http() -> None:
    gate = Gate()
    async with serving(gate.answer, max_held_bytes=1000) as served:
        waiting = served.start(b"x" * 600)
        await until(lambda: gate.entered == 1)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.start(b"x" * 600)
        gate.open.set()
        await waiting

        assert caught.value.code() is CODE.RESOURCE_EXHAUSTED
        assert served.problems("bodies_too_large") == 1
        assert served.bodies.held_bytes == 0


async def test_a_call_without_a_message_is_refused() -> None:
    async with serving(live) as served:
        call = served.channel.stream_unary(PATH)(iter([]), timeout=20)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call

        assert caught.value.code() is CODE.INVALID_ARGUMENT


async def stall(served: Served, path: str, count: int) -> list[grpc.aio.StreamUnaryCall]:
    """Open calls that send no message."""
    method = served.channel.stream_unary(path)
    stalled = [method(timeout=20) for _ in range(count)]
    for one in stalled:
        await one.wait_for_connection()
    await until(lambda: served.calls.open.total() == count)
    return stalled


@pytest.mark.parametrize(("path", "turns"), [(PATH, 1), (INFER, 4)])
async def test_callers_who_send_no_message_hold_the_turns_of_others_for_a_limited_time(
    path: str, turns: int
) -> None:
    """They have all turns; an honest call of the same method comes next."""
    async with serving(live) as served:
        stalled = await stall(served, path, turns)

        assert await served.channel.unary_unary(path)(b"", timeout=20)
        for one in stalled:
            assert await one.code() is CODE.DEADLINE_EXCEEDED


async def test_a_small_message_does_not_wait_for_slow_tensors() -> None:
    """Twenty callers without a message have all turns for 25 s."""
    async with serving(live) as served:
        stalled = await stall(served, INFER, 20)

        assert await served.start()
        assert not any(one.done() for one in stalled)


async def test_calls_with_tensors_take_no_slots_from_others() -> None:
    async with serving(live, max_calls=2) as served:
        stalled = await stall(served, INFER, 2)

        assert await served.channel.unary_unary(INFER)(b"").code() is CODE.RESOURCE_EXHAUSTED
        assert await served.start()
        assert not any(one.done() for one in stalled)
