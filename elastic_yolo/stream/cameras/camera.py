"""A camera as a source: RTSP, or MJPEG over HTTP, of which the newest frame is delivered."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from threading import Condition, Event, Thread

import av

from elastic_yolo.backoff import Backoff
from elastic_yolo.detector.inputs import Frame
from elastic_yolo.stream.cameras.connection import (
    CameraConnection,
    ConnectionLost,
    LoginRefused,
    Taken,
    certificates,
)
from elastic_yolo.stream.cameras.frames import upright_frame
from elastic_yolo.stream.errors import Refused
from elastic_yolo.stream.message import Message
from elastic_yolo.stream.urls import public_name, split_url

SCHEMES = ("rtsp", "rtsps", "http", "https")
_EXAMPLE = "rtsp://[user:password@]host[:port]/path, rtsps:// or http(s)://"
_ENCRYPTED = ("rtsps", "https")
_STALL_S = 10.0
_FIRST_WAIT_S = 1.0
_MOST_WAIT_S = 30.0
# A thread that waits for a dead camera ends with the process.
_CLOSE_S = 1.0
# Of the time between two frames: how much one may come early.
_EARLY = 0.25
_LOG = logging.getLogger(__name__)


class CameraSource:
    """Reads a camera in a thread of its own, and connects again whenever the connection breaks.

    A message has the frame as RGB pixels, or as the JPEG file that the camera sent. Its id is when
    the frame was taken, in microseconds since 1970.
    """

    newest_only = True
    finished = False

    def __init__(
        self, address: str, fps: float | None = None, *, stall_s: float = _STALL_S
    ) -> None:
        """Begin to connect.

        `fps` is how many frames per second to offer; others do not count as dropped. A camera that
        sends nothing for `stall_s` seconds counts as lost. Raises BadAddress.
        """
        parts = split_url(address, SCHEMES, _EXAMPLE)
        self.name = public_name(address)
        if parts.scheme in _ENCRYPTED and not certificates():
            _LOG.warning(
                "%s: nothing checks that this is the camera: SSL_CERT_FILE names no file with "
                "its certificate",
                self.name,
            )
        self.connected = False
        """Whether the camera sends frames now."""
        # FFmpeg knows no HTTP:// in capitals.
        self._address = parts.geturl()
        self._fps = fps
        self._stall_s = stall_s
        self._changed = Condition()
        self._newest: Taken | None = None
        self._dropped = 0
        self._refused: str | None = None
        self._due = 0.0
        self._last_id = 0
        self._seen = False
        self._away = False
        self._closing = Event()
        self._thread = Thread(target=self._run, name=f"camera {self.name}", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """How many frames were dropped because a newer one came, or decoding could not keep up."""
        return self._dropped

    def receive(self, most: int, wait_s: float) -> list[Message]:
        """Return the newest frame that was not delivered yet, or none after `wait_s` seconds.

        None as well while the camera is away. `most` is at least 1. Raises Refused if the camera
        does not accept the user name or password.
        """
        del most
        with self._changed:
            self._changed.wait_for(lambda: self._newest or self._refused, wait_s)
            taken, self._newest = self._newest, None
            if taken is None and self._refused:
                raise Refused(self._refused)
        if taken is None:
            return []
        try:
            picture = _to_picture(taken)
        except av.FFmpegError as error:
            _LOG.warning("%s: a frame was left out: %s", self.name, error.strerror)
            return []
        # Two frames never share an id, even if the clock was set back between them.
        self._last_id = max(self._last_id + 1, int(taken.at * 1e6))
        return [Message(self.name, str(self._last_id), picture, added_at=taken.at)]

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Do nothing: a camera delivers nothing twice."""

    def reject(self, message: Message, reason: str) -> None:
        """Log the reason: a camera has no place for what cannot be processed."""
        _LOG.warning("%s: frame %s was left out: %s", self.name, message.id, reason)

    def lag(self) -> None:
        """Return None: nothing waits."""
        return

    def close(self) -> None:
        """End the thread, within a second even if the camera does not respond."""
        self._closing.set()
        self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        backoff = Backoff(_FIRST_WAIT_S, _MOST_WAIT_S)
        while not self._closing.is_set():
            try:
                self._follow(backoff)
            except LoginRefused:
                if not self._seen:
                    self._refuse()
                    return
                self._lose("it refuses the user name or password")
            except ConnectionLost as lost:
                self._lose(str(lost))
            except Exception as error:  # noqa: BLE001  # else the camera stays dark for ever
                _LOG.exception("%s: unexpected", self.name)
                self._lose(type(error).__name__)
            self._closing.wait(backoff.next_s())

    def _follow(self, backoff: Backoff) -> None:
        """Offer frames until the connection breaks or the source is closed."""
        connection = CameraConnection(self._address, self._stall_s, self._count_dropped)
        with closing(connection.frames()) as packets:
            for frames in packets:
                if self._closing.is_set():
                    return
                if frames and not self.connected:
                    backoff.reset()
                    self._gain()
                for taken in frames:
                    self._offer(taken)

    def _offer(self, taken: Taken) -> None:
        if self._fps is not None:
            between_s = 1 / self._fps
            if taken.at < self._due - _EARLY * between_s:
                return
            # On time on average; after a pause, no more than one at once.
            self._due = max(self._due, taken.at - _EARLY * between_s) + between_s
        with self._changed:
            if self._newest is not None:
                self._dropped += 1
            self._newest = taken
            self._changed.notify_all()

    def _count_dropped(self) -> None:
        with self._changed:
            self._dropped += 1

    def _gain(self) -> None:
        self.connected = self._seen = True
        self._away = False
        _LOG.info("%s: the camera sends frames", self.name)

    def _lose(self, reason: str) -> None:
        self.connected = False
        if not self._away and not self._closing.is_set():
            self._away = True
            _LOG.warning("%s: the camera is away: %s; connecting again", self.name, reason)

    def _refuse(self) -> None:
        """Give up: a wrong password does not mend itself, and cameras lock users for guessing."""
        with self._changed:
            self._refused = f"{self.name}: the camera refuses the user name or password (401)"
            self._changed.notify_all()


def _to_picture(taken: Taken) -> bytes | Frame:
    return taken.picture if isinstance(taken.picture, bytes) else upright_frame(taken.picture)
