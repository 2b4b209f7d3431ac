"""Files of web servers.

Range requests and their conditions: RFC 9110, sections 13.1.5 (If-Range) and 14 (Range).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from http import HTTPStatus

import httpx

from elastic_yolo.provision.errors import SourceRefused, SourceUnavailable
from elastic_yolo.provision.sources.opened import Opened, Start, shown

TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_MOST_REDIRECTS = 5
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_LATER = frozenset({408, 425, 429, 500, 502, 503, 504})


def open_http(address: str, start: Start) -> AbstractContextManager[Opened]:
    """See `opened.Open`; follows redirects, and asks for the rest only of the same content."""
    return open_with({}, address, start)


@contextmanager
def open_with(headers: Mapping[str, str], address: str, start: Start) -> Iterator[Opened]:
    """Do as `open_http` does with further headers.

    Authorization is not sent to another host that a redirect leads to.
    """
    conditions: dict[str, str] = {}
    if start.offset and start.same_as:
        conditions = {"Range": f"bytes={start.offset}-", "If-Range": start.same_as}
    try:
        with opening({**headers, **conditions}, address, start.offset) as opened:
            yield opened
    except _NothingLeft:
        # All of it was there, which only its digest can say: once more from the beginning.
        with opening(headers, address, 0) as opened:
            yield opened


@contextmanager
def opening(headers: Mapping[str, str], address: str, offset: int) -> Iterator[Opened]:
    """Ask once, with these headers; what comes begins at `offset` or at the beginning."""
    headers = {"Accept-Encoding": "identity", **headers}
    with (
        refusals(address),
        httpx.Client(
            timeout=TIMEOUT, follow_redirects=True, max_redirects=_MOST_REDIRECTS
        ) as client,
        client.stream("GET", address, headers=headers) as response,
    ):
        begins, size = _extent(response, address)
        if begins not in (0, offset):
            raise SourceUnavailable(f"{shown(address)}: another part came than was asked for")
        yield Opened(_pieces(response, address), begins, size, _validator(response))


@contextmanager
def refusals(address: str) -> Iterator[None]:
    """Raise what goes wrong with a request as our errors."""
    try:
        yield
    except httpx.TooManyRedirects:
        raise SourceRefused(f"{shown(address)}: too many redirects") from None
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise SourceRefused(f"{shown(address)}: {error}") from None
    except httpx.HTTPError as error:
        raise SourceUnavailable(f"{shown(address)}: {type(error).__name__}: {error}") from error


def parse_range(text: str) -> tuple[int, int | None] | None:
    """Read a Content-Range: where a part begins, and how long the whole is, if it says that."""
    found = _RANGE.fullmatch(text)
    return found and (int(found[1]), None if found[2] == "*" else int(found[2]))


def refused(address: str, status: int, reason: str) -> SourceUnavailable | SourceRefused:
    """Return what a status that is no success means."""
    kind = SourceUnavailable if status in _LATER else SourceRefused
    return kind(f"{shown(address)}: answered {status} {reason}")


class _NothingLeft(SourceUnavailable):
    """The rest was asked for, and there is none."""


def _extent(response: httpx.Response, address: str) -> tuple[int, int | None]:
    """Return where the answer begins in the file, and how long the file is."""
    status = response.status_code
    if status == HTTPStatus.PARTIAL_CONTENT:
        extent = parse_range(response.headers.get("content-range", ""))
        if extent is None:
            raise SourceUnavailable(f"{shown(address)}: a part came that does not say which")
        return extent
    if status == HTTPStatus.OK:
        length = response.headers.get("content-length", "")
        return 0, int(length) if length.isdigit() else None
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        raise _NothingLeft(f"{shown(address)}: has nothing there")
    raise refused(address, status, response.reason_phrase)


def _pieces(response: httpx.Response, address: str) -> Iterator[bytes]:
    with refusals(address):
        yield from response.iter_raw()


def _validator(response: httpx.Response) -> str | None:
    etag: str = response.headers.get("etag", "")
    # A weak one stands for what is as good as the same: not for the same bytes.
    return etag if etag.startswith('"') else response.headers.get("last-modified")
