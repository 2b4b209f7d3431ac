"""Request bodies that arrive compressed, as `Content-Encoding` says (RFC 9110, section 8.4)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from services.common.request.errors import MalformedRequest, UnsupportedEncoding

# One call returns at most this much: it takes a fraction of a millisecond of the event loop.
PIECE_BYTES = 64 * 1024
# What is passed to zlib at once. It copies what it leaves, so that short members in a long piece
# would be copied a thousand times.
_SLICE_BYTES = 4096
# Members of a gzip file. An attack: a million empty ones of 20 bytes, each with a window of 32 KB.
_MAX_MEMBERS = 400
_GZIP = 16 + zlib.MAX_WBITS
# zlib's header, RFC 1950: the method in the low bits, and a multiple of 31.
_DEFLATE_METHOD = 8


class Inflater:
    """Inflates a body piece by piece; all compressed formats that `gzip` and `deflate` stand for.

    `deflate` is a zlib stream (RFC 1950); many clients send the bare deflate stream (RFC 1951).
    """

    def __init__(self, coding: str) -> None:
        """Take `gzip` or `deflate`."""
        self._coding = coding
        self._begin = b""
        self._members = 1
        # Whether a bare deflate stream begins the body of `deflate` is seen from its second byte.
        self._stream = zlib.decompressobj(_GZIP) if coding == "gzip" else None

    def inflate(self, data: bytes) -> Iterator[bytes]:
        """Yield what the data holds, in pieces of at most PIECE_BYTES, some of them empty.

        Raises MalformedRequest if the data is corrupt, or goes on behind its end.
        """
        if self._stream is None:
            data = self._begin + data
            if len(data) < 2:
                self._begin = data
                return
            self._stream = zlib.decompressobj(_window_bits(data))
        position = 0
        while position < len(data):
            taken = data[position : position + _SLICE_BYTES]
            if self._stream.eof:
                if self._coding == "gzip":
                    # Some programs pad a file with zeros, and gzip(1) ignores them.
                    padding = len(taken) - len(taken.lstrip(b"\0"))
                    if padding:
                        position += padding
                        continue
                self._begin_member()
            try:
                yield self._stream.decompress(taken, PIECE_BYTES)
            except zlib.error:
                raise MalformedRequest(
                    f"Content-Encoding: {self._coding}: the body cannot be decompressed"
                ) from None
            left = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
            position += len(taken) - len(left)

    def finish(self) -> None:
        """Raise MalformedRequest unless the compressed data is complete."""
        if self._stream is None or not self._stream.eof:
            raise MalformedRequest(
                f"Content-Encoding: {self._coding}: the body ends before its compressed data"
            )

    def _begin_member(self) -> None:
        """Go on to the next member, which only gzip allows (RFC 1952, section 2.2)."""
        self._members += 1
        if self._members > _MAX_MEMBERS:
            raise MalformedRequest(
                f"Content-Encoding: gzip: the body has more than {_MAX_MEMBERS:,} members"
            )
        if self._coding != "gzip":
            raise MalformedRequest(
                f"Content-Encoding: {self._coding}: the body goes on behind its compressed data"
            )
        self._stream = zlib.decompressobj(_GZIP)


def choose_inflater(content_encoding: str) -> Inflater | None:
    """Return what inflates the body, None for `identity`; raises UnsupportedEncoding."""
    names = [name.strip().lower() for name in content_encoding.split(",")]
    codings = [name for name in names if name not in ("", "identity")]
    if not codings:
        return None
    coding = codings[0].removeprefix("x-")
    if len(codings) > 1 or coding not in ("gzip", "deflate"):
        shown = ", ".join(codings)[:80]
        raise UnsupportedEncoding(
            f"Content-Encoding {shown!r} is not accepted: send gzip or deflate, "
            "or leave the header out"
        )
    return Inflater(coding)


def _window_bits(begin: bytes) -> int:
    has_header = begin[0] & 15 == _DEFLATE_METHOD and int.from_bytes(begin[:2], "big") % 31 == 0
    return zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS
