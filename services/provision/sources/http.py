"""Files of web servers.

Range requests and their conditions: RFC 9110, sections 13.1.5 (If-Range) and 14 (Range).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

import httpx

from services.provision.errors import SourceRefused, SourceUnavailable
from services.provision.sources.opened import Opened, Start, shown

_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_MOST_REDIRECTS = 5
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_LATER = frozenset({408, 425, 429, 500, 502, 503, 504})


@contextmanager
def open_http(address: str, start: Start) -> Iterator[Opened]:
    """See `opened.Open`; follows redirects, and asks for the rest only of the same content."""
    headers = {"Accept-Encoding": "identity"}
    if start.offset and start.same_as:
        headers |= {"Range": f"bytes={start.offset}-", "If-Range": start.same_as}
    try:
        with (
            httpx.Client(
                timeout=_TIMEOUT, follow_redirects=True, max_redirects=_MOST_REDIRECTS
            ) as client,
            client.stream("GET", address, headers=headers) as response,
        ):
            offset, size = _extent(response, address)
            if offset not in (0, start.offset):
                raise SourceUnavailable(f"{shown(address)}: another part came than was asked for")
            yield Opened(_pieces(response, address), offset, size, _validator(response))
    except httpx.TooManyRedirects:
        raise SourceRefused(f"{shown(address)}: too many redirects") from None
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise SourceRefused(f"{shown(address)}: {error}") from None
    except httpx.HTTPError as error:
        raise _unavailable(address, error) from error


def _extent(response: httpx.Response, address: str) -> tuple[int, int | None]:
    """Return where the answer begins in the file, and how long the file is."""
    status = response.status_code
    if status == HTTPStatus.PARTIAL_CONTENT:
        found = _RANGE.fullmatch(response.headers.get("content-range", ""))
        if found is None:
            raise SourceUnavailable(f"{shown(address)}: a part came that does not say which")
        return int(found[1]), None if found[2] == "*" else int(found[2])
    if status == HTTPStatus.OK:
        length = response.headers.get("content-length", "")
        return 0, int(length) if length.isdigit() else None
    what = f"{shown(address)}: answered {status} {response.reason_phrase}"
    raise SourceUnavailable(what) if status in _LATER else SourceRefused(what)


def _pieces(response: httpx.Response, address: str) -> Iterator[bytes]:
    try:
        yield from response.iter_raw()
    except httpx.HTTPError as error:
        raise _unavailable(address, error) from error


def _validator(response: httpx.Response) -> str | None:
    etag: str = response.headers.get("etag", "")
    # A weak one stands for what is as good as the same: not for the same bytes.
    return etag if etag.startswith('"') else response.headers.get("last-modified")


def _unavailable(address: str, error: httpx.HTTPError) -> SourceUnavailable:
    return SourceUnavailable(f"{shown(address)}: {type(error).__name__}: {error}")
