"""Source http(s)://: files of web servers.

Resumes with conditional range requests: RFC 9110, sections 13.1.5 (If-Range) and 14 (Range).
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx

from elastic_yolo.provision.errors import (
    SourceRefused,
    SourceUnavailable,
    SourceUnreachable,
)
from elastic_yolo.provision.sources.stream import ResumePoint, SourceStream, redacted

TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_MOST_REDIRECTS = 5
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_ERRNO = re.compile(r"^\[Errno -?\d+\] ")
_RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Connection:
    """How to connect to a server, and what messages call it."""

    label: str = ""
    """Replaces the address in messages."""
    verify: ssl.SSLContext | bool = True
    """Certificates of authorities, or whether to check the server's certificate."""
    proxy: str | None = None
    """Address of a proxy, instead of that in the environment."""

    def name(self, address: str) -> str:
        """Return what messages call an address."""
        return self.label or redacted(address)

    def client(self, **options: Any) -> httpx.Client:
        """Return a client with these settings."""
        return httpx.Client(timeout=TIMEOUT, verify=self.verify, proxy=self.proxy, **options)


DIRECT = Connection()


def open_http(address: str, start: ResumePoint) -> AbstractContextManager[SourceStream]:
    """See `stream.OpenSource`; follows redirects, and resumes only if the content is unchanged."""
    return open_with({}, address, start)


@contextmanager
def open_with(
    headers: Mapping[str, str],
    address: str,
    start: ResumePoint,
    connection: Connection = DIRECT,
) -> Iterator[SourceStream]:
    """Open like `open_http` with further headers.

    A redirect to another host does not receive the Authorization header.
    """
    conditions: dict[str, str] = {}
    if start.offset and start.validator:
        conditions = {"Range": f"bytes={start.offset}-", "If-Range": start.validator}
    try:
        with open_once({**headers, **conditions}, address, start.offset, connection) as opened:
            yield opened
    except _RangeNotSatisfiable:
        # The partial file may be complete, or too long. Only its digest can tell: start again at 0.
        with open_once(headers, address, 0, connection) as opened:
            yield opened


@contextmanager
def open_once(
    headers: Mapping[str, str], address: str, offset: int, connection: Connection = DIRECT
) -> Iterator[SourceStream]:
    """Send one GET request; the response must begin at `offset` or at 0."""
    headers = {"Accept-Encoding": "identity", **headers}
    with (
        translated_errors(address, connection),
        connection.client(follow_redirects=True, max_redirects=_MOST_REDIRECTS) as client,
        client.stream("GET", address, headers=headers) as response,
    ):
        name = connection.name(address)
        begins, size = _extent(response, name)
        if begins not in (0, offset):
            raise SourceUnavailable(
                f"{name}: requested bytes from {offset:,}, received from {begins:,}"
            )
        chunks = _chunks(response, address, connection)
        yield SourceStream(chunks, begins, size, _validator(response))


@contextmanager
def translated_errors(address: str, connection: Connection = DIRECT) -> Iterator[None]:
    """Raise httpx's errors as SourceRefused or SourceUnavailable."""
    name = connection.name(address)
    try:
        yield
    except httpx.TooManyRedirects:
        raise SourceRefused(f"{name}: too many redirects") from None
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise SourceRefused(f"{name}: {error}") from None
    except httpx.HTTPError as error:
        unreachable = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
        kind = SourceUnreachable if unreachable else SourceUnavailable
        what = "no connection" if unreachable else type(error).__name__
        # Texts of errors of certificates have the host.
        detail = "" if connection.label else f": {_ERRNO.sub('', str(error))}"
        raise kind(f"{name}: {what}{detail}".removesuffix(": ")) from error


def parse_range(text: str) -> tuple[int, int | None] | None:
    """Parse a Content-Range header: the first byte of the part, and the whole size or None."""
    found = _RANGE.fullmatch(text)
    return found and (int(found[1]), None if found[2] == "*" else int(found[2]))


def status_error(name: str, status: int, reason: str) -> SourceUnavailable | SourceRefused:
    """Return the error for a status that is not 2xx of the server that messages call `name`."""
    kind = SourceUnavailable if status in _RETRYABLE else SourceRefused
    return kind(f"{name}: status {status} {reason}")


class _RangeNotSatisfiable(SourceUnavailable):
    """The requested range begins at or after the end of the file."""


def _extent(response: httpx.Response, name: str) -> tuple[int, int | None]:
    """Return the offset of the response in the file, and the size of the file or None."""
    status = response.status_code
    if status == HTTPStatus.PARTIAL_CONTENT:
        extent = parse_range(response.headers.get("content-range", ""))
        if extent is None:
            raise SourceUnavailable(f"{name}: status 206 without a valid Content-Range")
        return extent
    if status == HTTPStatus.OK:
        length = response.headers.get("content-length", "")
        return 0, int(length) if length.isdigit() else None
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        raise _RangeNotSatisfiable(f"{name}: the requested range does not exist")
    raise status_error(name, status, response.reason_phrase)


def _chunks(response: httpx.Response, address: str, connection: Connection) -> Iterator[bytes]:
    with translated_errors(address, connection):
        yield from response.iter_raw()


def _validator(response: httpx.Response) -> str | None:
    etag: str = response.headers.get("etag", "")
    # A weak ETag does not guarantee identical bytes.
    return etag if etag.startswith('"') else response.headers.get("last-modified")
