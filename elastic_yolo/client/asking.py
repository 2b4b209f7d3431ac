"""What is asked of the web service: a picture with its parameters, as a request."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from elastic_yolo import __version__
from elastic_yolo.client.errors import BadArgument
from elastic_yolo.client.reply import MOST_JSON_BYTES, MOST_PICTURE_BYTES
from elastic_yolo.picture.drawn_types import FORMATS

TOKEN = "ELASTIC_YOLO_TOKEN"  # noqa: S105  # a variable's name
PATH = "/inference"
# Proxies of the environment cannot reach these.
_OWN_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
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


def ask_for_detections(picture: Picture, params: Mapping[str, str]) -> Asked:
    """Return the request for detections; raises OSError if a file cannot be read."""
    return _ask(picture, params, "application/json", MOST_JSON_BYTES)


def ask_for_drawing(picture: Picture, params: Mapping[str, str], media_type: str) -> Asked:
    """Return the request for a picture with boxes; raises BadArgument or OSError."""
    if media_type not in FORMATS:
        raise BadArgument(f"{media_type}: expected {' or '.join(FORMATS)}")
    return _ask(picture, params, media_type, MOST_PICTURE_BYTES)


def parameters(model: str | None, threshold: float | None, iou: float | None) -> Mapping[str, str]:
    """Return the parameters of the query; None is the service's default."""
    stated = {"model": model, "threshold": threshold, "iou": iou}
    return {name: str(value) for name, value in stated.items() if value is not None}


def http_options(url: str, token: str | None) -> dict[str, Any]:
    """Return the arguments of httpx's clients; raises BadArgument.

    Without `token`, that of ELASTIC_YOLO_TOKEN is sent.
    """
    address = _address(url)
    return {
        "base_url": address,
        "headers": {
            "User-Agent": f"elastic-yolo/{__version__}",
            # JSON of a few kilobytes, or a compressed picture.
            "Accept-Encoding": "identity",
            **_authorization(token),
        },
        "limits": httpx.Limits(max_connections=None, max_keepalive_connections=_KEPT_CONNECTIONS),
        "mounts": _direct(address.host),
    }


def server_name(url: str) -> str:
    """Return a URL for messages: without user name and password."""
    address = _address(url)
    return str(address.copy_with(userinfo=b"", query=None, fragment=None)).rstrip("/")


def check_timeout(timeout_s: float) -> float:
    """Return a timeout in seconds; raises BadArgument."""
    if not 0 < timeout_s < float("inf"):
        raise BadArgument(f"timeout_s: expected a number of seconds above 0, not {timeout_s}")
    return timeout_s


def _ask(picture: Picture, params: Mapping[str, str], accept: str, most_bytes: int) -> Asked:
    content = picture if isinstance(picture, bytes) else Path(picture).read_bytes()
    kinds = (kind for start, kind in _SIGNATURES.items() if content.startswith(start))
    headers = {"Content-Type": next(kinds, _UNKNOWN), "Accept": accept}
    return Asked(content, headers, params, most_bytes)


def _address(url: str) -> httpx.URL:
    # Nothing of an address with a password is shown.
    shown = "the URL" if "@" in url else repr(url)
    try:
        address = httpx.URL(url)
        # httpx takes ports above 65535, and half of an IPv6 address.
        _ = urlsplit(url).port
    except (httpx.InvalidURL, ValueError) as error:
        raise BadArgument(f"{shown}: {error}") from None
    if address.scheme not in {"http", "https"} or not address.host:
        raise BadArgument(f"expected http://HOST:PORT, not {shown}")
    if address.path.rstrip("/").endswith(PATH):
        raise BadArgument(f"expected the address without {PATH}, not {shown}")
    return address


def _direct(host: str) -> dict[str, None]:
    """Return the addresses that no proxy of the environment is asked for."""
    own = f"[{host}]" if ":" in host else host
    return {f"all://{own}": None} if host in _OWN_HOSTS else {}


def _authorization(token: str | None) -> dict[str, str]:
    # Files and secrets often end with a newline.
    token = (os.environ.get(TOKEN, "") if token is None else token).strip()
    if not (token.isascii() and token.isprintable()):
        raise BadArgument("the token has characters that are not allowed in a header")
    return {"Authorization": f"Bearer {token}"} if token else {}
