"""What all calls have in common: identity, deadline, limits, metrics, log line and errors.

It is for gRPC what RequestMiddleware is for HTTP.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from traceback import clear_frames
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar

import grpc.aio
from google.protobuf.message import DecodeError, Message
from starlette.datastructures import Headers

from services.common.core.middleware import CALLER_LEFT, Recorder
from services.common.core.problems import (
    GRPC_CODE,
    INTERNAL_DETAIL,
    is_expected,
    problem_detail,
    problem_reason,
    problem_response,
)
from services.common.observe.logs import get_logger
from services.common.observe.telemetry import Metrics
from services.common.request.body import Bodies
from services.common.request.context import (
    TIMEOUT_HEADER,
    Deadline,
    RequestContext,
    accept_request_id,
)
from services.common.request.errors import MalformedRequest, TooManyRequests
from services.inference.grpc.receiving import Context, Receiver

if TYPE_CHECKING:
    from services.common.observe.tracing import Tracing

_METHOD = "gRPC"
"""Stands in metrics and log lines where requests over HTTP have their method."""

# What a span says of the transport.
_SCOPE = {"method": "POST", "scheme": "http", "http_version": "2", "query_string": b""}

M = TypeVar("M", bound=Message)

Kind = Literal["tensors", "calls", "streams"]
"""Of a call: with tensors, another one with one message, or a stream."""


@dataclass(frozen=True)
class Call:
    """A call whose message has arrived."""

    context: RequestContext
    metadata: Mapping[str, str]


Answer = Callable[[Call, bytes], Awaitable[Message]]
"""Returns the response to a message; raises ServiceError."""

Respond = Callable[[AsyncIterator[bytes]], AsyncIterator[Message]]
"""Yields responses to messages as they arrive; raises ServiceError."""

Trailers = tuple[tuple[str, str], ...]
"""Metadata behind the response."""


class Calls:
    """Serves the calls of this process; makes responses of the exceptions of all methods."""

    def __init__(
        self,
        *,
        metrics: Metrics,
        bodies: Bodies,
        longest_ms: int,
        max_calls: int,
        tracing: Tracing | None,
    ) -> None:
        """Serve at most `max_calls` calls at a time, none longer than `longest_ms` milliseconds.

        There may be as many calls with tensors, and as many streams, which have no end.
        """
        self._metrics = metrics
        self._bodies = bodies
        self._longest_ms = longest_ms
        self._max_calls = max_calls
        self._tracing = tracing
        self._recorder = Recorder(metrics)
        # Tensors may take their time. A probe must not wait for them, nor for a caller that keeps
        # a stream open.
        self._receivers: dict[Kind, Receiver] = {
            "tensors": Receiver(at_once=4, stall_s=5.0),
            "calls": Receiver(at_once=1, stall_s=1.0),
            "streams": Receiver(at_once=1, stall_s=1.0),
        }
        self.open: Counter[str] = Counter()
        """How many calls of each kind are in progress."""

    def handler(
        self, path: str, answer: Answer, *, takes_tensors: bool = False
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """Return the handler of a method with one message and one response.

        The messages of a method that takes tensors are received beside those of all others.

        On the wire there is no difference to a method with a stream of messages, which may decide
        itself when it receives the first one.
        """
        kind: Kind = "tensors" if takes_tensors else "calls"
        serve: Any = partial(self._serve, path, answer, kind)
        return grpc.stream_unary_rpc_method_handler(serve)

    def stream_handler(self, respond: Respond) -> grpc.RpcMethodHandler[Any, Any]:
        """Return the handler of a method with several responses, and messages as they arrive.

        Its calls are neither counted nor logged, and their responses have no deadline.
        """
        serve: Any = partial(self._serve_stream, respond)
        return grpc.stream_stream_rpc_method_handler(serve)

    @contextmanager
    def _slot(self, kind: Kind) -> Iterator[None]:
        """Count a call as open until the block ends; raises TooManyRequests if too many are.

        Each kind has its own slots. An attack: watchers of the health in place of calls. Many
        callers whose tensors are slow take none from probes.
        """
        count = self.open[kind]
        if count >= self._max_calls:
            what = "calls with tensors" if kind == "tensors" else kind
            raise TooManyRequests(f"{count} {what} are open: try again in 1 s", 1, "queue_full")
        self.open[kind] += 1
        try:
            yield
        finally:
            self.open[kind] -= 1

    async def _serve(
        self, path: str, answer: Answer, kind: Kind, _messages: object, call: Context
    ) -> bytes:
        metadata = _read_metadata(call)
        context = self._begin(path, metadata)
        status: int = CALLER_LEFT
        self._metrics.in_flight.inc()
        try:
            with self._slot(kind):
                context.deadline = self._read_deadline(call, metadata)
                receiver = self._receivers[kind]
                response = await self._receive(receiver, answer, Call(context, metadata), call)
            encoded = response.SerializeToString()
            call.set_trailing_metadata(self._to_trailers(context))
            status = HTTPStatus.OK
        except asyncio.CancelledError:
            if context.deadline.left_s <= 0:
                # gRPC watches the caller's deadline as well, and may be first.
                status = HTTPStatus.GATEWAY_TIMEOUT
                context.problem = "deadline_exceeded"
            raise
        except Exception as error:  # noqa: BLE001  # last resort: every exception becomes a status
            status = _note_problem(error, path, context)
            await _abort(call, error, self._to_trailers(context), context.uid)
        else:
            return encoded
        finally:
            self._metrics.in_flight.dec()
            self._recorder.record(context, method=_METHOD, path=path, route=path, status=status)

    async def _receive(
        self, receiver: Receiver, answer: Answer, call: Call, wire: Context
    ) -> Message:
        """Receive the message of a call and return the response; the message is free afterwards."""
        message = await receiver.receive(wire, call.context.deadline)
        if message is None:
            raise MalformedRequest("the call has no message, or one that is too large")
        with self._bodies.hold(len(message)):
            response = answer(call, message)
            # The method drops it when it is decoded.
            del message
            return await response

    async def _serve_stream(self, respond: Respond, _messages: object, call: Context) -> None:
        context = self._new_context(_read_metadata(call))
        try:
            with self._slot("streams"):
                messages = self._receivers["streams"].receive_all(call, context.deadline)
                async for response in respond(messages):
                    await call.write(response.SerializeToString())
        except Exception as error:  # noqa: BLE001  # as above
            await _abort(call, error, (), context.uid)

    def _new_context(self, metadata: Mapping[str, str]) -> RequestContext:
        request_id = accept_request_id(metadata.get("x-request-id"))
        return RequestContext(request_id, Deadline.after_ms(self._longest_ms))

    def _begin(self, path: str, metadata: Mapping[str, str]) -> RequestContext:
        """Return the context of a call; its trace has begun."""
        context = self._new_context(metadata)
        if self._tracing is not None:
            scope = {**_SCOPE, "path": path}
            context.trace = self._tracing.begin(scope, Headers(metadata), context.request_id)
        if context.trace is not None:
            context.timings.on_phase = context.trace.add_phase
        return context

    def _read_deadline(self, call: Context, metadata: Mapping[str, str]) -> Deadline:
        """Return the earliest of the caller's deadline, its X-Timeout-Ms and the longest time."""
        left_s = call.time_remaining()
        longest_ms = (
            self._longest_ms if left_s is None else min(self._longest_ms, int(left_s * 1000))
        )
        return Deadline.from_header(metadata.get(TIMEOUT_HEADER), longest_ms)

    def _to_trailers(self, context: RequestContext) -> Trailers:
        timing = context.timings.to_header(self._metrics.service)
        return (("x-request-id", context.request_id), ("server-timing", timing))


def parse(kind: type[M], message: bytes) -> M:
    """Return a parsed message; raises MalformedRequest."""
    try:
        return kind.FromString(message)
    except DecodeError:
        raise MalformedRequest(f"the message is no {kind.DESCRIPTOR.full_name}") from None


def _read_metadata(call: Context) -> dict[str, str]:
    """Return the metadata that is text."""
    return {key: text for key, text in call.invocation_metadata() or () if isinstance(text, str)}


def _note_problem(error: Exception, path: str, context: RequestContext) -> int:
    """Prepare the record of a call that failed, and return its status over HTTP."""
    if not is_expected(error):
        get_logger().error("unexpected error", exc_info=error, uid=context.uid, path=path)
    # The frames hold the message, and cycles of references keep them until some collection.
    clear_frames(error.__traceback__)
    context.problem = problem_reason(error)
    context.detail = problem_detail(error)
    return problem_response(error, context.uid).status_code


async def _abort(call: Context, error: Exception, trailers: Trailers, uid: str) -> NoReturn:
    """End a call with the status of an error, and `retry-after` where HTTP has Retry-After."""
    over_http = problem_response(error, uid)
    again_s = over_http.headers.get("retry-after")
    await call.abort(
        grpc.StatusCode[GRPC_CODE[over_http.status_code]],
        problem_detail(error) if is_expected(error) else INTERNAL_DETAIL,
        trailers if again_s is None else (*trailers, ("retry-after", again_s)),
    )
