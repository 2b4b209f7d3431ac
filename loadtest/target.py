"""Checks the target with one picture before the load starts."""

from __future__ import annotations

import mimetypes
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from client.arguments import token_header
from client.client import find_fault
from elastic_yolo.progress import print_status
from loadtest.errors import LoadTestError
from loadtest.pictures import list_scenes
from loadtest.urls import without_user

_TIMEOUT_S = 30.0
_RETRY_S = 0.5


@dataclass(frozen=True)
class Target:
    """The target's model and its speed."""

    model: str
    version: str
    digest: str
    first_ms: float
    """Latency of one picture without other load."""


def try_picture(url: str, pictures: Path, wait_s: float) -> Target:
    """Send the first picture of a folder; raises LoadTestError unless it returns detections.

    A service that cannot be reached, or answers 503, may be starting: it gets `wait_s` seconds.
    """
    shown = without_user(url)
    response, took_ms = _first_response(url, list_scenes(pictures)[0], wait_s)
    if response.status_code != httpx.codes.OK:
        raise LoadTestError(
            f"{shown} returned {response.status_code} for a first picture{_detail(response)}"
        )
    try:
        answer = response.json()
    except ValueError as error:
        raise LoadTestError(
            f"{shown} is not a web service of elastic-yolo: its response is not JSON"
        ) from error
    if fault := find_fault(answer):
        raise LoadTestError(f"{shown} is not a web service of elastic-yolo: {fault}")
    model = answer.get("model") or {}
    name, number, digest = (str(model.get(key, "?")) for key in ("name", "version", "digest"))
    return Target(name, number, digest, took_ms)


def _first_response(url: str, picture: Path, wait_s: float) -> tuple[httpx.Response, float]:
    """Return a response, and the milliseconds that it took; the last one when the time is over."""
    shown = without_user(url)
    until = time.monotonic() + wait_s
    said = False
    while True:
        began = time.perf_counter()
        try:
            response = _send(url, picture)
        except httpx.HTTPError as error:
            why = f"cannot be reached: {str(error) or type(error).__name__}"
            if time.monotonic() >= until:
                raise LoadTestError(f"{shown} {why}") from error
        else:
            is_starting = response.status_code == httpx.codes.SERVICE_UNAVAILABLE
            if not is_starting or time.monotonic() >= until:
                return response, 1000 * (time.perf_counter() - began)
            why = f"{response.status_code}{_detail(response)}"
        if not said:
            said = True
            print_status(f"waiting up to {wait_s:.0f} s for {shown}: {why}")
        time.sleep(_RETRY_S)


def _send(url: str, picture: Path) -> httpx.Response:
    media_type = mimetypes.guess_type(picture.name)[0] or "application/octet-stream"
    return httpx.post(
        f"{url}/inference",
        files={"image": (picture.name, picture.read_bytes(), media_type)},
        headers=token_header(),
        timeout=_TIMEOUT_S,
    )


def _detail(response: httpx.Response) -> str:
    try:
        problem: Any = response.json()
    except ValueError:
        return ""
    detail = problem.get("detail") if isinstance(problem, dict) else None
    return f": {detail}" if detail else ""
