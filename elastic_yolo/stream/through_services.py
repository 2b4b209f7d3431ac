"""Detection by the three services: every picture is a request to web."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from typing import Any

import httpx
import numpy as np
import simplejpeg

from elastic_yolo.detector.boxes import Detection
from elastic_yolo.detector.inputs import Frame
from elastic_yolo.picture.errors import PictureError
from elastic_yolo.picture.header import read_header
from elastic_yolo.stream.backoff import Backoff
from elastic_yolo.stream.detecting import Answer
from elastic_yolo.stream.errors import Refused, Unavailable

# Requests at the same time: enough for a few inference pods, and web balances them.
_CONCURRENCY = 8
_TIMEOUT_S = 60.0
# Frames of a camera travel as JPEG. Above 95, files grow fast and boxes no longer change.
_JPEG_QUALITY = 95
# The picture's own fault: docs/http.md.
_BAD_PICTURE = frozenset({400, 413, 415, 422})
_LATER = frozenset({429, 502, 503, 504})
_NEVER = frozenset({401, 403, 404, 405})


class PictureRefused(PictureError):
    """Web refuses the picture, and will refuse it again."""


class ServiceFailed(Exception):
    """Web answered with an error of its own; another attempt may or may not work."""


@dataclass(frozen=True)
class Query:
    """What every request asks for: the model's name, threshold and IoU; None is the default."""

    model: str | None = None
    threshold: float | None = None
    iou: float | None = None

    def parameters(self) -> dict[str, str]:
        """Return the query parameters."""
        stated = {"model": self.model, "threshold": self.threshold, "iou": self.iou}
        return {name: str(value) for name, value in stated.items() if value is not None}


class ThroughServices:
    """Detection by the three services behind the URL of web."""

    def __init__(self, url: str, query: Query, token: str | None, *, newest_only: bool) -> None:
        """Prepare connections; `token` is web's ACCESS_TOKEN. Raises Refused for an invalid URL."""
        self.window = 2 if newest_only else 2 * _CONCURRENCY
        self._stopping = Event()
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        try:
            self._client = httpx.Client(
                base_url=url, headers=headers, timeout=_TIMEOUT_S, params=query.parameters()
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise Refused(f"--url: {error}") from error
        self._threads = ThreadPoolExecutor(_CONCURRENCY, "request")

    def submit(self, picture: bytes | Frame) -> Future[Answer]:
        """See Detecting.submit."""
        return self._threads.submit(self._ask, picture)

    def close(self) -> None:
        """See Detecting.close."""
        self._stopping.set()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._client.close()

    def _ask(self, picture: bytes | Frame) -> Answer:
        content = _encoded(picture) if isinstance(picture, Frame) else picture
        media_type = read_header(content).media_type
        backoff = Backoff()
        while True:
            try:
                return _answer(self._send(content, media_type))
            except Unavailable as error:
                # Backpressure: nothing is lost, and the window keeps more from being received.
                if self._stopping.wait(backoff.next_s(error.retry_after_s)):
                    raise

    def _send(self, content: bytes, media_type: str) -> httpx.Response:
        try:
            response = self._client.post(
                "/inference", content=content, headers={"Content-Type": media_type}
            )
        except httpx.HTTPError as error:
            raise Unavailable(
                f"{self._client.base_url}: {error or type(error).__name__}"
            ) from error
        if response.status_code in _LATER:
            raise Unavailable(_detail(response), _retry_after_s(response))
        return response


def _answer(response: httpx.Response) -> Answer:
    """Return the answer of a response; raises PictureRefused, Refused or ServiceFailed."""
    if response.status_code in _BAD_PICTURE:
        raise PictureRefused(_detail(response))
    if response.status_code in _NEVER:
        raise Refused(f"{response.url}: {_detail(response)}")
    if response.status_code != httpx.codes.OK:
        raise ServiceFailed(_detail(response))
    body = response.json()
    detections = tuple(Detection(label, score, tuple(box)) for label, score, box in body["data"])
    return Answer(detections, (body["image"]["width"], body["image"]["height"]), body["model"])


def _detail(response: httpx.Response) -> str:
    """Return what a problem document says."""
    try:
        problem: Any = response.json()
        return f"{response.status_code}: {problem['detail']}"
    except (ValueError, KeyError, TypeError):
        return f"{response.status_code} {response.reason_phrase}"


def _retry_after_s(response: httpx.Response) -> float | None:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else None


def _encoded(frame: Frame) -> bytes:
    pixels = np.ascontiguousarray(frame.pixels)
    order = "BGR" if frame.is_bgr else "RGB"
    content: bytes = simplejpeg.encode_jpeg(pixels, quality=_JPEG_QUALITY, colorspace=order)
    return content
