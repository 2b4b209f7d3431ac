"""Detection by the three services: every picture is a request to web."""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import Any

import httpx
import numpy as np
import simplejpeg

from elastic_yolo.backoff import Backoff, parse_retry_after
from elastic_yolo.detector.boxes import Detection
from elastic_yolo.detector.inputs import Frame
from elastic_yolo.picture.errors import PictureError
from elastic_yolo.picture.header import read_header
from elastic_yolo.stream.detecting import PLAIN, Answer
from elastic_yolo.stream.errors import BadAddress, Refused, Unavailable
from elastic_yolo.stream.urls import public_name, split_url

# Requests at the same time: enough for a few inference pods, and web balances them.
_CONCURRENCY = 8
_TIMEOUT_S = 60.0
# Frames of a camera travel as JPEG. Above 95, files grow fast and boxes no longer change.
_JPEG_QUALITY = 95
_LATER = frozenset({408, 425, 429, 503})
_NEVER = frozenset({401, 403, 404, 405})
# Between two attempts with a picture, so that they meet another moment of the services.
_AGAIN_S = 1.0
# Backpressure for a moment is normal. After so long without any answer, the log says it.
_AWAY_S = 5.0
_LOG = logging.getLogger(__name__)


class PictureRefused(PictureError):
    """Web refuses the picture, and will refuse it again."""


class ServiceFailed(Exception):
    """The services failed with this picture; another attempt may or may not work."""


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
    """Detection by the three services behind the URL of web.

    When a picture fails, a plain one is sent: only if that is answered is it the picture's fault.
    Otherwise it waits until the services work again, and no outage empties a queue into the dead
    letters.
    """

    def __init__(self, url: str, query: Query, token: str | None, *, newest_only: bool) -> None:
        """Prepare connections; `token` is web's ACCESS_TOKEN. Raises BadAddress."""
        split_url(url, ("http", "https"), "--url http://HOST:PORT, the URL of web")
        # Files and secrets often end with a newline.
        token = (token or "").strip()
        if not (token.isascii() and token.isprintable()):
            raise BadAddress("ACCESS_TOKEN has characters that are not allowed in a header")
        self.window = 2 if newest_only else 2 * _CONCURRENCY
        self._name = public_name(url)
        self._stopping = Event()
        self._lock = Lock()
        self._answered_at = time.monotonic()
        self._away = False
        self._plain = _encoded(PLAIN)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            self._client = httpx.Client(
                base_url=url, headers=headers, timeout=_TIMEOUT_S, params=query.parameters()
            )
        except httpx.InvalidURL as error:
            raise BadAddress(f"--url {self._name}: {error}") from None
        self._asked: SimpleQueue[tuple[bytes | Frame, Future[Answer]] | None] = SimpleQueue()
        self._running = _CONCURRENCY
        # `close` does not wait for a request that hangs: it ends with the process.
        for number in range(_CONCURRENCY):
            Thread(target=self._run, name=f"request-{number}", daemon=True).start()

    def submit(self, picture: bytes | Frame) -> Future[Answer]:
        """See Detecting.submit."""
        answer: Future[Answer] = Future()
        self._asked.put((picture, answer))
        return answer

    def close(self) -> None:
        """See Detecting.close."""
        self._stopping.set()
        for _ in range(_CONCURRENCY):
            self._asked.put(None)

    def _run(self) -> None:
        while (asked := self._asked.get()) is not None:
            picture, answer = asked
            try:
                answer.set_result(self._ask(picture))
            except BaseException as error:  # noqa: BLE001  # the waiting caller gets it
                answer.set_exception(error)
        with self._lock:
            self._running -= 1
            if not self._running:
                self._client.close()

    def _ask(self, picture: bytes | Frame) -> Answer:
        if self._stopping.is_set():
            raise Unavailable("the process ends")
        content = _encoded(picture) if isinstance(picture, Frame) else picture
        media_type = read_header(content).media_type
        backoff = Backoff()
        while True:
            try:
                answer = self._tell_apart(content, media_type)
            except Unavailable as error:
                # Nothing is lost, and the window keeps more from being received.
                self._note_failed(error)
                if self._stopping.wait(backoff.next_s(error.retry_after_s)):
                    raise
            else:
                self._note_answered()
                return answer

    def _tell_apart(self, content: bytes, media_type: str) -> Answer:
        """Ask once; raises what is the picture's fault, Refused, or Unavailable for the services'.

        That is PictureRefused or ServiceFailed.
        """
        try:
            return self._request(content, media_type)
        except PictureRefused:
            self._require_works()
            raise
        except ServiceFailed:
            self._require_works()
            self._stopping.wait(_AGAIN_S)
            raise

    def _require_works(self) -> None:
        """Return if a plain picture is answered; raises Refused or Unavailable."""
        try:
            self._request(self._plain, "image/jpeg")
        except PictureRefused as error:
            raise Refused(f"{self._name}: it refuses every picture: {error}") from None
        except ServiceFailed as error:
            raise Unavailable(str(error)) from None
        self._note_answered()

    def _request(self, content: bytes, media_type: str) -> Answer:
        """Send a picture; raises PictureRefused, ServiceFailed, Refused or Unavailable."""
        try:
            response = self._client.post(
                "/inference", content=content, headers={"Content-Type": media_type}
            )
        except httpx.ConnectError as error:
            raise Unavailable(str(error)) from None
        except httpx.HTTPError as error:
            raise ServiceFailed(str(error) or type(error).__name__) from None
        status = response.status_code
        if status == httpx.codes.OK:
            return self._answer(response)
        if status in _LATER:
            asked_s = parse_retry_after(response.headers.get("Retry-After"))
            raise Unavailable(_detail(response), asked_s)
        if status >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise ServiceFailed(_detail(response))
        if status < httpx.codes.BAD_REQUEST or status in _NEVER:
            raise Refused(f"{self._name}: {_detail(response)}")
        raise PictureRefused(_detail(response))

    def _answer(self, response: httpx.Response) -> Answer:
        try:
            body = response.json()
            found = tuple(Detection(label, score, tuple(box)) for label, score, box in body["data"])
            return Answer(found, (body["image"]["width"], body["image"]["height"]), body["model"])
        except (ValueError, KeyError, TypeError):
            raise Refused(f"{self._name}: what answers is not the web of elastic-yolo") from None

    def _note_failed(self, error: Unavailable) -> None:
        """Log once that the services answer nothing."""
        with self._lock:
            if not self._away and time.monotonic() > self._answered_at + _AWAY_S:
                self._away = True
                _LOG.warning("%s: no answer: %s; the pictures wait", self._name, error)

    def _note_answered(self) -> None:
        with self._lock:
            self._answered_at = time.monotonic()
            if self._away:
                self._away = False
                _LOG.info("%s: it answers again", self._name)


def _detail(response: httpx.Response) -> str:
    """Return what a problem document says."""
    try:
        problem: Any = response.json()
        return f"{response.status_code}: {problem['detail']}"
    except (ValueError, KeyError, TypeError):
        return f"{response.status_code} {response.reason_phrase}"


def _encoded(frame: Frame) -> bytes:
    pixels = np.ascontiguousarray(frame.pixels)
    order = "BGR" if frame.is_bgr else "RGB"
    content: bytes = simplejpeg.encode_jpeg(pixels, quality=_JPEG_QUALITY, colorspace=order)
    return content
