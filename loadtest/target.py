"""The service that gets the load: one picture before there is any."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import httpx

from client.arguments import token_header
from client.client import find_fault
from loadtest.errors import LoadTestError
from loadtest.pictures import IMAGES
from loadtest.urls import without_user

_PICTURE = IMAGES / "scene-01.jpg"
_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Target:
    """What the service says of itself."""

    model: str
    version: str
    digest: str
    first_ms: float
    """Time for one picture alone."""


def try_picture(url: str) -> Target:
    """Send one picture; raises LoadTestError if it is not answered as it should be."""
    shown = without_user(url)
    began = time.perf_counter()
    try:
        response = httpx.post(
            f"{url}/inference",
            files={"image": (_PICTURE.name, _PICTURE.read_bytes(), "image/jpeg")},
            headers=token_header(),
            timeout=_TIMEOUT_S,
        )
    except httpx.HTTPError as error:
        why = str(error) or type(error).__name__
        raise LoadTestError(f"{shown} does not answer: {why}") from error
    took_ms = 1000 * (time.perf_counter() - began)
    if response.status_code != httpx.codes.OK:
        raise LoadTestError(
            f"{shown} answers a first picture with {response.status_code}{_detail(response)}"
        )
    try:
        answer = response.json()
    except ValueError as error:
        raise LoadTestError(f"{shown} is no web service of elastic-yolo: no JSON") from error
    if fault := find_fault(answer):
        raise LoadTestError(f"{shown} is no web service of elastic-yolo: {fault}")
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
