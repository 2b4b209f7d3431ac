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
from loadtest.errors import LoadTestError
from loadtest.pictures import list_scenes
from loadtest.urls import without_user

_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Target:
    """The target's model and its speed."""

    model: str
    version: str
    digest: str
    first_ms: float
    """Latency of one picture without other load."""


def try_picture(url: str, pictures: Path) -> Target:
    """Send the first picture of a folder; raises LoadTestError unless it returns detections."""
    shown = without_user(url)
    picture = list_scenes(pictures)[0]
    media_type = mimetypes.guess_type(picture.name)[0] or "application/octet-stream"
    began = time.perf_counter()
    try:
        response = httpx.post(
            f"{url}/inference",
            files={"image": (picture.name, picture.read_bytes(), media_type)},
            headers=token_header(),
            timeout=_TIMEOUT_S,
        )
    except httpx.HTTPError as error:
        why = str(error) or type(error).__name__
        raise LoadTestError(f"{shown} cannot be reached: {why}") from error
    took_ms = 1000 * (time.perf_counter() - began)
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


def _detail(response: httpx.Response) -> str:
    try:
        problem: Any = response.json()
    except ValueError:
        return ""
    detail = problem.get("detail") if isinstance(problem, dict) else None
    return f": {detail}" if detail else ""
