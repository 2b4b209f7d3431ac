"""One HTTP connection: uvicorn's, with limits on everything that a caller can send or leave unread.

uvicorn limits neither the size of a request's head nor the time until it is complete, keeps
trailers of any size, loses the body behind an offer to upgrade, starts on requests that have to
wait, and answers malformed ones in plain text. This subclass overrides methods and reads attributes
that uvicorn does not document: pyproject.toml allows one minor version of it, and test_uvicorn.py
names what another version has changed.

The parser gets the bytes in pieces of which none reaches beyond the end of a head or of a request.
So each byte is known to belong to a head, to a body, or to neither.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, ClassVar, cast
from uuid import uuid4

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from elastic_yolo.freed_memory import return_freed_memory_soon
from services.common.core.open_files import ConnectionLimit
from services.common.core.problems import problem_reason, problem_response
from services.common.observe.log_limit import LogLimit
from services.common.observe.logs import get_logger
from services.common.request.errors import (
    DeadlineExceeded,
    MalformedRequest,
    ServiceError,
    Unavailable,
)

# Request line and headers. Browsers send 1 KB, proxies with large cookies up to 16.
MAX_HEAD_BYTES = 64 * 1024
# A header takes 180 bytes of memory beside its own: 13,000 of five bytes would take 2.4 MB.
MAX_HEADERS = 256
# Sizes and extensions of chunks, and trailers, all of which are ignored. An attack: any of them
# without end. Each byte of the body allows one more, for clients that send small chunks.
MAX_FRAMING_BYTES = 64 * 1024
# A chunked body is parsed in pieces of this size, until so many chunks or trailers have come in
# one turn of the event loop. An attack: chunks of a byte, which take as long as large ones.
_CHUNKED_PIECE_BYTES = 4 * 1024
_MAX_CALLS_PER_TURN = 200
# Blank lines within a chunked body, at which it is cut. By chance, a picture of 20 MB has none.
_MAX_CUTS = 256
# What is read and ignored of a request after its response: many clients read the response only
# when they have sent all. Beyond it the connection is closed. The pause between two pieces leaves
# the event loop to others, at 4 MB/s.
_MAX_DISCARDED_BYTES = 32 * 1024 * 1024
_DISCARD_S = 10.0
_DISCARD_PAUSE_S = 0.015
# The same after the last response of a connection. If it were closed at once while more arrives,
# TCP would reset it, and some clients would not see the response.
_MAX_LINGERING_BYTES = 1024 * 1024
_LINGER_S = 2.0
# Connections that linger at a time; each takes 40 KB of memory.
_MAX_LINGERING = 100

_BLANK_LINE = b"\r\n\r\n"
_EMPTY_LINES = re.compile(rb"[\r\n]*")
_METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


class Connection(HttpToolsProtocol, asyncio.BufferedProtocol):
    """Serves requests one after the other, and ends what exceeds a limit on size or time."""

    # uvloop reads up to 250 KB at once, and each connection may hold what it has read. All share
    # one buffer: the loop fills it, and calls `buffer_updated` before it reads elsewhere.
    _buffer = bytearray(64 * 1024)
    _lingering: ClassVar[set[Connection]] = set()

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        *,
        head_timeout_s: float,
        limit: ConnectionLimit,
        log_limit: LogLimit,
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Allow `head_timeout_s` seconds for a head, from connecting or from its first byte.

        The caller has the same time to read a response.
        """
        super().__init__(config, server_state, app_state, _loop)
        self._head_timeout_s = head_timeout_s
        self._limit = limit
        self._log_limit = log_limit
        # Of the request whose bytes arrive: its head, until `_begin_request`, then its body.
        self._in_head = True
        self._head_bytes = 0
        self._has_blank_coding = False
        self._states_length = True
        self._body_left: int | None = 0  # None if it is chunked
        self._body_begun = False
        self._framing_left = MAX_FRAMING_BYTES
        self._cuts = 0
        self._discarded_left = _MAX_DISCARDED_BYTES
        # Of the piece that is parsed.
        self._calls = 0  # of the parser, in this turn of the event loop
        self._body_in_piece = 0
        self._request_in_piece = False  # whether one has ended in it
        self._tail = b""  # the three bytes before it, in which a blank line may begin
        self._plain_head: bytes | None = None  # to parse in place of a head that would be misread
        # What has arrived and is parsed later, from a position on.
        self._held = b""
        self._held_start = 0
        self._trailers = 0
        # The last response is written; what still arrives is ignored.
        self._ending = False
        self._input_timer: asyncio.TimerHandle | None = None
        self._output_timer: asyncio.TimerHandle | None = None

    # What the transport calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection, or refuse it if too many are open."""
        super().connection_made(transport)
        if len(self.connections) > self._limit.connections:
            # It does not linger, because it would count as open.
            self._refuse(Unavailable(self._limit.refusal), lingers=False)
        else:
            self._limit_input(self._head_timeout_s, self._refuse_late_head)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers."""
        self._lingering.discard(self)
        self._held = b""
        self._stop_input_timer()
        self._stop_output_timer()
        super().connection_lost(exc)
        self._drop_body()

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002  # asyncio's signature
        """Return where the loop writes what it reads."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take what the loop has read."""
        self.data_received(bytes(memoryview(self._buffer)[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Parse the data, or hold it until the request before it has its response."""
        self._unset_keepalive_if_required()
        if self._ending:
            self._discard(len(data))
        elif self._held:
            self._hold(self._held[self._held_start :] + data, 0)
        else:
            self._parse(data, 0)

    def pause_writing(self) -> None:
        """Limit the time in which the caller must read its response."""
        super().pause_writing()
        self._limit_output()

    def resume_writing(self) -> None:
        """Go on: the caller reads."""
        self._stop_output_timer()
        super().resume_writing()

    # Cutting the bytes into pieces.

    def _parse(self, data: bytes, start: int) -> None:
        self._calls = 0
        while start < len(data) and not self._is_over():
            if self._in_head and self.cycle is not None and not self.cycle.response_complete:
                # The next request: `on_response_complete` goes on with it.
                self._hold(data, start)
                return
            if self._in_head and not self._tail:
                start = self._skip_empty_lines(data, start)
            stop = self._end_of_piece(data, start)
            is_all = start == 0 and stop == len(data)
            self._parse_piece(data if is_all else memoryview(data)[start:stop])
            start = stop
            if start < len(data) and not self._in_head and self._calls > _MAX_CALLS_PER_TURN:
                self._hold(data, start)
                self.loop.call_soon(self._parse_held)
                return

    def _skip_empty_lines(self, data: bytes, start: int) -> int:
        """Return the position behind empty lines in front of a head (RFC 9112, section 2.2)."""
        empty = _EMPTY_LINES.match(data, start)
        stop = start if empty is None else empty.end()
        if stop > start:
            self._count_head(stop - start)
        return stop

    def _end_of_piece(self, data: bytes, start: int) -> int:
        """Return the end of the body if its length is known, else that of the next blank line.

        A head and a chunked body end with a blank line, which may arrive in several parts.
        """
        if not self._in_head and self._body_left is not None:
            return min(len(data), start + max(self._body_left, 1))
        longest = len(data)
        if not self._in_head:
            longest = min(longest, start + _CHUNKED_PIECE_BYTES)
            if self._cuts > _MAX_CUTS:
                return longest
        origin = start - len(self._tail)
        found = (self._tail + data[start : start + 3]).find(_BLANK_LINE)
        if found < 0:
            origin, found = 0, data.find(_BLANK_LINE, start, longest)
        if found < 0:
            return longest
        self._cuts += not self._in_head
        return origin + found + len(_BLANK_LINE)

    def _parse_piece(self, piece: bytes | memoryview) -> None:
        in_head = self._in_head
        if in_head:
            self._count_head(len(piece))
        if not piece or self._is_over():
            return
        self._body_in_piece = 0
        self._request_in_piece = False
        self._tail = (self._tail + bytes(piece[-3:]))[-3:]
        self._feed(piece)
        if self._plain_head is not None:
            self._parse_plain_head(self._plain_head)
        if not in_head:
            self._count_body(len(piece))

    def _feed(self, piece: bytes | memoryview) -> None:
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            pass  # `on_headers_complete` has seen what the request offers
        except httptools.HttpParserError as error:
            if self._plain_head is None:
                self._refuse_malformed(error)

    def _parse_plain_head(self, head: bytes) -> None:
        self._plain_head = None
        self.parser = httptools.HttpRequestParser(self)
        # As uvicorn does: what follows the last request of a connection is ignored.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._feed(head)

    def _count_head(self, size: int) -> None:
        """Count bytes of a head, and of empty lines before it."""
        if self._input_timer is None:
            self._limit_input(self._head_timeout_s, self._refuse_late_head)
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse_excess("the request's head exceeds", MAX_HEAD_BYTES)

    def _count_body(self, size: int) -> None:
        """Count a piece that was no part of a head."""
        body = self._body_in_piece
        self._body_begun = True
        if self._body_left is not None:
            self._body_left -= body
        left = self._framing_left - (size - body) + body
        self._framing_left = min(MAX_FRAMING_BYTES, left)
        if self._is_over() or self._in_head:
            return
        if left < 0:
            what = "chunk sizes, chunk extensions and trailers, less the size of the body, exceed"
            self._refuse_excess(what, MAX_FRAMING_BYTES)
        elif self.cycle.response_complete:
            self._discard(size)

    def _discard(self, size: int) -> None:
        self._discarded_left -= size
        if self._discarded_left < 0:
            self.transport.close()
        elif size >= _CHUNKED_PIECE_BYTES and not self._held:
            self.transport.pause_reading()
            self.loop.call_later(_DISCARD_PAUSE_S, self._resume_reading)

    def _resume_reading(self) -> None:
        if not self.transport.is_closing() and not self._held:
            self.transport.resume_reading()

    def _hold(self, data: bytes, start: int) -> None:
        self._held, self._held_start = data, start
        # More stays in the kernel. Not through `self.flow`, which the request in front resumes.
        self.transport.pause_reading()

    def _parse_held(self) -> None:
        if not self._is_over():
            held, self._held = self._held, b""
            if not self.flow.read_paused:
                self.transport.resume_reading()
            self._parse(held, self._held_start)

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Begin a head, unless the piece also has the end of a request in front of it.

        That happens behind a body full of blank lines only: what follows it is ignored.
        """
        if not self._request_in_piece:
            super().on_message_begin()
        elif not self._is_over():
            self.cycle.keep_alive = False
            if self.cycle.response_complete:
                self.transport.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header to the request, without the blanks around its value; ignore a trailer."""
        self._calls += 1
        if self._request_in_piece or self._is_over():
            return
        self._trailers += not self._in_head
        if self._trailers > MAX_HEADERS or len(self.headers) == MAX_HEADERS:
            self._refuse(MalformedRequest(f"the request has more than {MAX_HEADERS} headers"))
            return
        if not self._in_head:
            return
        plain = value.strip(b" \t")
        if plain != value and name.lower() == b"transfer-encoding":
            self._has_blank_coding = True
        super().on_header(name, plain)

    def on_headers_complete(self) -> None:
        """Begin the request, unless the parser would misread what follows."""
        if self._request_in_piece or self._is_over():
            return
        version = self.parser.get_http_version()
        if self.parser.get_method() == b"CONNECT":
            self._refuse(MalformedRequest("CONNECT is not supported: this service is no proxy"))
        elif version not in ("1.0", "1.1"):
            self._refuse(MalformedRequest(f"HTTP/{version} is not supported: send HTTP/1.1"))
        elif self.parser.should_upgrade() or self._has_blank_coding:
            self._plain_head = self._write_plain_head()
            self._has_blank_coding = False
        else:
            self._begin_request()

    def on_body(self, body: bytes) -> None:
        """Pass on a piece of the body, or ignore it if the response is complete."""
        self._calls += 1
        self._body_in_piece += len(body)
        if not self._is_over():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Expect the next head."""
        if self._plain_head is not None or self._request_in_piece:
            return
        self._request_in_piece = True
        self._in_head = True
        self._tail = b""
        self._stop_input_timer()
        if not self._is_over():
            super().on_message_complete()
            if self.cycle.response_complete:
                self._rearm_keepalive()

    def _rearm_keepalive(self) -> None:
        """Wait for the next request, as uvicorn does after a response."""
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def _write_plain_head(self) -> bytes:
        """Return the head without an offer to upgrade, behind which the parser would stop."""
        line = (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        lines = [b"%s %s HTTP/%s" % line]
        lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join(lines) + _BLANK_LINE

    def _begin_request(self) -> None:
        super().on_headers_complete()
        self.cycle.transport = cast("asyncio.Transport", _ResponseTransport(self))
        self._stop_input_timer()
        headers = dict(self.headers)
        length = headers.get(b"content-length")
        chunked = b"transfer-encoding" in headers
        self._in_head = False
        self._head_bytes = 0
        self._tail = b""
        self._states_length = (
            chunked or length is not None or self.scope["method"] not in _METHODS_WITH_BODY
        )
        self._body_left = None if chunked else int(length or 0)
        self._body_begun = False
        self._framing_left = MAX_FRAMING_BYTES
        self._cuts = 0
        self._trailers = 0
        self._discarded_left = _MAX_DISCARDED_BYTES

    # The end of a response and of the connection.

    def on_response_complete(self) -> None:
        """Go on to the next request, or limit how long the rest of this one may arrive."""
        self._drop_body()
        super().on_response_complete()
        if self.transport.get_write_buffer_size():
            self._limit_output()
        if self._is_over():
            self._unset_keepalive_if_required()
        elif self._in_head:
            if self._held:
                self._unset_keepalive_if_required()
                self.loop.call_soon(self._parse_held)
        elif self.expect_100_continue and not self._body_begun:
            # The caller may never send the body: the next head would be taken for it.
            self.transport.close()
        else:
            self._unset_keepalive_if_required()
            self._limit_input(_DISCARD_S, self.transport.close)

    def _drop_body(self) -> None:
        """Free what the application has not read, up to 144 KB; see also `clear_frames`."""
        if self.cycle is not None and self.cycle.body:
            self.cycle.body = bytearray()
            return_freed_memory_soon()

    def shutdown(self) -> None:
        """End an idle connection now, and another one after its response: the service stops."""
        super().shutdown()
        self._end_unanswered()

    def end_after_response(self) -> None:
        """Close the connection, at once unless the caller may still send a part of the request."""
        if self._in_head and not self._held and self._states_length:
            self.transport.close()
        else:
            self._linger(_MAX_DISCARDED_BYTES)

    def send_400_response(self, msg: str) -> None:
        """Refuse a request."""
        self._refuse(MalformedRequest(msg))

    def _refuse_malformed(self, error: httptools.HttpParserError) -> None:
        detail = "malformed HTTP request"
        if "PRI/Upgrade" in str(error):
            detail = "HTTP/2 is not supported: send HTTP/1.1"
        elif not isinstance(error, httptools.HttpParserCallbackError):
            detail += f": {error}"
        self._refuse(MalformedRequest(detail))

    def _refuse_excess(self, what: str, limit: int) -> None:
        self._refuse(MalformedRequest(f"{what} the limit of {limit:,} bytes"))

    def _refuse_late_head(self) -> None:
        self._refuse(
            DeadlineExceeded(f"the request's head did not arrive in {self._head_timeout_s:g} s")
        )

    def _refuse(self, error: ServiceError, *, lingers: bool = True) -> None:
        """Write a problem document, unless the request has a response, and end the connection."""
        if self._is_over():
            return
        if not self._in_head:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self._in_head or not self.cycle.response_started:
            self._write_problem(error)
        if lingers:
            self._linger(_MAX_LINGERING_BYTES)
        else:
            self.transport.close()

    def _write_problem(self, error: ServiceError) -> None:
        uid = uuid4().hex
        response = problem_response(error, uid)
        reason = problem_reason(error)
        if self._log_limit.passes("connection refused", reason):
            get_logger().info("connection refused", reason=reason, detail=str(error), uid=uid)
        status = HTTPStatus(response.status_code)
        head = [f"HTTP/1.1 {status.value} {status.phrase}", f"x-request-id: {uid}"]
        head += [f"{name.decode()}: {value.decode()}" for name, value in response.raw_headers]
        head += ["connection: close", "", ""]
        self.transport.write("\r\n".join(head).encode("latin-1") + bytes(response.body))

    def _linger(self, max_bytes: int) -> None:
        """End the output now, and the connection when the caller does, within limits."""
        if self._is_over():
            return
        if len(self._lingering) >= _MAX_LINGERING:
            self.transport.close()
            return
        self._lingering.add(self)
        self._ending = True
        self._held = b""
        self._discarded_left = max_bytes
        if self.transport.can_write_eof():  # TLS has no half-closed connections
            self.transport.write_eof()
        self.transport.resume_reading()
        self._limit_input(_LINGER_S, self._end_lingering)
        self._limit_output()

    def _end_lingering(self) -> None:
        self.transport.close()
        self._end_unanswered()

    def _end_unanswered(self) -> None:
        """Limit the wait for the caller's end of TLS, for which many clients do not look."""
        if self.transport.is_closing():
            self.loop.call_later(_LINGER_S, self._abort_if_flushed)

    def _abort_if_flushed(self) -> None:
        if not self.transport.get_write_buffer_size():
            self.transport.abort()

    def _is_over(self) -> bool:
        return self._ending or self.transport.is_closing()

    # Time.

    def _limit_input(self, seconds: float, expire: Callable[[], object]) -> None:
        """Call `expire` unless what must arrive has arrived in time."""
        self._stop_input_timer()
        self._input_timer = self.loop.call_later(seconds, expire)

    def _stop_input_timer(self) -> None:
        if self._input_timer is not None:
            self._input_timer.cancel()
            self._input_timer = None

    def _limit_output(self) -> None:
        """Reset the connection unless the caller reads its response in time."""
        self._stop_output_timer()
        self._output_timer = self.loop.call_later(self._head_timeout_s, self._end_unread)

    def _stop_output_timer(self) -> None:
        if self._output_timer is not None:
            self._output_timer.cancel()
            self._output_timer = None

    def _end_unread(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()


class _ResponseTransport:
    """What uvicorn writes a response to; it ends a connection as `end_after_response` does."""

    def __init__(self, connection: Connection) -> None:
        self.write = connection.transport.write
        self.is_closing = connection.transport.is_closing
        self.close = connection.end_after_response
