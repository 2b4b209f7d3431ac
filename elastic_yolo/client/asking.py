"""What is asked of the web service: a picture with its parameters, as a request."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from elastic_yolo import __version__
from elastic_yolo.client.address import check_address, is_loopback
from elastic_yolo.client.environment import proxy_for, trusted_certificates
from elastic_yolo.client.errors import BadArgument
from elastic_yolo.client.reply import MOST_JSON_BYTES, MOST_PICTURE_BYTES
from elastic_yolo.picture.drawn_types import FORMATS
from elastic_yolo.reading import MOST_READ_BYTES, read_all, read_all_async

TOKEN = "ELASTIC_YOLO_TOKEN"  # noqa: S105  # a variable's name
MOST_TIMEOUT_S = 604_800
"""A week. Operating systems and services take no time of any length."""
_KEPT_CONNECTIONS = 64
# How the accepted formats begin. The service looks for itself; proxies read the header.
_SIGNATURES = {
    b"\xff\xd8": "image/jpeg",
    b"\x89PNG": "image/png",
    b"RIFF": "image/webp",
    b"BM": "image/bmp",
}
_UNKNOWN = "image/x-unknown"

Picture = str | Path | bytes
"""The path of a file, or its content."""


@dataclass(frozen=True)
class Asked:
    """One request, whatever the number of attempts."""

    content: bytes
    headers: Mapping[str, str]
    params: Mapping[str, str]
    most_bytes: int
    """Of the response's content."""


def content_of(picture: Picture, timeout_s: float) -> bytes:
    """Return the content of a picture; raises OSError if a file cannot be read in time."""
    if isinstance(picture, bytes):
        return picture
    return read_all(_path(picture), MOST_READ_BYTES, timeout_s)


async def content_of_async(picture: Picture, timeout_s: float) -> bytes:
    """Return what `content_of` returns, without blocking the event loop."""
    if isinstance(picture, bytes):
        return picture
    return await read_all_async(_path(picture), MOST_READ_BYTES, timeout_s)


def ask_for_detections(content: bytes, params: Mapping[str, str]) -> Asked:
    """Return the request for the detections in a picture."""
    return _ask(content, params, "application/json", MOST_JSON_BYTES)


def ask_for_drawing(content: bytes, params: Mapping[str, str], media_type: str) -> Asked:
    """Return the request for a picture with boxes; raises BadArgument."""
    if media_type not in FORMATS:
        raise BadArgument(f"{media_type!a}: expected {' or '.join(FORMATS)}")
    return _ask(content, params, media_type, MOST_PICTURE_BYTES)


def parameters(model: str | None, threshold: float | None, iou: float | None) -> Mapping[str, str]:
    """Return the parameters of the query; None is the service's default; raises BadArgument."""
    if not _is_text(model or ""):
        raise BadArgument(f"model: expected text that UTF-8 can express, not {model!a}")
    stated = {"model": model, "threshold": threshold, "iou": iou}
    return {name: str(value) for name, value in stated.items() if value is not None}


def http_options(url: str, token: str | None) -> dict[str, Any]:
    """Return the arguments of httpx's clients; raises BadArgument.

    Without `token`, that of ELASTIC_YOLO_TOKEN is sent.
    """
    address = check_address(url)
    authorization = _authorization(token)
    if address.userinfo and authorization:
        raise BadArgument("expected a token, or a user name and password in the URL, not both")
    verify = {"verify": trusted_certificates()} if address.scheme == "https" else {}
    return {
        "base_url": address,
        "headers": {
            "User-Agent": f"elastic-yolo/{__version__}",
            # JSON of a few kilobytes, or a compressed picture.
            "Accept-Encoding": "identity",
            **authorization,
        },
        "limits": httpx.Limits(max_connections=None, max_keepalive_connections=_KEPT_CONNECTIONS),
        # httpx reads the environment in a way that fails on variables that are not used here.
        "trust_env": False,
        "proxy": None if is_loopback(address.host) else proxy_for(address),
        **verify,
    }


def server_name(url: str) -> str:
    """Return a URL for messages: without user name and password."""
    address = check_address(url)
    return str(address.copy_with(userinfo=b"", query=None, fragment=None)).rstrip("/")


def check_timeout(timeout_s: float) -> float:
    """Return a timeout in seconds; raises BadArgument."""
    if not 0 < timeout_s <= MOST_TIMEOUT_S:
        raise BadArgument(
            f"timeout_s: expected a number of seconds above 0, at most {MOST_TIMEOUT_S:,}, "
            f"not {timeout_s}"
        )
    return timeout_s


def _path(picture: str | Path) -> Path:
    try:
        os.fsencode(picture)
    except UnicodeEncodeError:
        raise BadArgument(f"not the name of a file: {str(picture)!a}") from None
    if "\0" in str(picture):
        raise BadArgument(f"not the name of a file: {str(picture)!a}")
    return Path(picture)


def _ask(content: bytes, params: Mapping[str, str], accept: str, most_bytes: int) -> Asked:
    kinds = (kind for start, kind in _SIGNATURES.items() if content.startswith(start))
    headers = {"Content-Type": next(kinds, _UNKNOWN), "Accept": accept}
    return Asked(content, headers, params, most_bytes)


def _authorization(token: str | None) -> dict[str, str]:
    source = TOKEN if token is None else "token"
    # Files and secrets often end with a newline.
    token = (os.environ.get(TOKEN, "") if token is None else token).strip()
    if not (token.isascii() and token.isprintable()):
        raise BadArgument(f"{source}: has characters that are not allowed in a header")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _is_text(value: str) -> bool:
    """Return whether a text is without halves of surrogate pairs, as bytes of arguments become."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
