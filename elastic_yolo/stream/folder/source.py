"""A folder that is being filled as a source, for one consumer or several, also over NFS."""

from __future__ import annotations

import errno
import logging
import os
import secrets
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path
from threading import Event, Thread

from elastic_yolo.detector.files import MOST_PICTURE_BYTES
from elastic_yolo.durable import write_atomic
from elastic_yolo.picture.errors import PictureError, PictureTooLarge, PictureUndecodable
from elastic_yolo.stream.errors import BadAddress, Refused, Unavailable
from elastic_yolo.stream.folder.claims import Claim, Claims
from elastic_yolo.stream.folder.waiting import WaitingPictures
from elastic_yolo.stream.message import Message
from elastic_yolo.write_errors import describe_write_error, require_writable

_LOOK_S = 0.5
_CLOSE_S = 5.0
_FOR_GOOD = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_LOG = logging.getLogger(__name__)


class FolderSource:
    """Delivers the pictures of a folder, and moves them to `done/` or `failed/` in it.

    The id of a message is the name of the file and its modification time in milliseconds since
    1970, such as `yard.jpg@1772366400000`; `added_at` is that time. A picture whose consumer died
    is delivered again by another one, with one more in `deliveries`.
    """

    newest_only = False
    dropped = 0
    finished = False

    def __init__(
        self, path: str, claim_after_s: float = 60.0, *, consumer: str | None = None
    ) -> None:
        """Begin; a consumer that showed no sign of life for `claim_after_s` seconds is dead.

        `consumer` is this one's name, by default one that no other process has. Raises BadAddress
        if the path is no folder that can be written to.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise BadAddress(f"{path}: expected a folder, or a video file")
        self.name = path
        self._done, self._failed = folder / "done", folder / "failed"
        self._waiting = WaitingPictures(folder)
        consumer = consumer or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        try:
            for subfolder in (self._done, self._failed):
                subfolder.mkdir(exist_ok=True)
                require_writable(subfolder)
            self._claims = Claims(folder, consumer, claim_after_s)
        except OSError as error:
            raise BadAddress(describe_write_error(folder, error)) from None
        self._ready: deque[str] = deque()
        # Consumers that begin at different places seldom want the same picture.
        self._place = secrets.randbelow(2**16)
        self._beat_s = claim_after_s / 4
        self._look_at = self._take_over_at = 0.0
        self._closing = Event()
        self._thread = Thread(target=self._beat, name=f"folder {path}", daemon=True)
        self._thread.start()

    def receive(self, most: int, wait_s: float) -> list[Message]:
        """Return at most `most` pictures, or none after `wait_s` seconds.

        Raises Unavailable or Refused.
        """
        until = time.monotonic() + wait_s
        with self._translated():
            while True:
                if messages := self._receive(most):
                    return messages
                left_s = until - time.monotonic()
                if left_s <= 0 or self._closing.wait(min(left_s, _LOOK_S)):
                    return []

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Move the pictures to `done/`; raises Unavailable or Refused."""
        with self._translated():
            for message in messages:
                self._move(message.handle, self._done, None)

    def reject(self, message: Message, reason: str) -> None:
        """Move the picture to `failed/`, with the reason in NAME.reason.txt beside it.

        Raises Unavailable or Refused.
        """
        with self._translated():
            self._move(message.handle, self._failed, reason)

    def lag(self) -> int:
        """Return how many pictures wait, finished or not, or are claimed by any consumer.

        Raises Unavailable or Refused.
        """
        with self._translated():
            return sum(1 for _ in self._waiting.names()) + self._claims.count()

    def close(self) -> None:
        """Leave what is not acknowledged to other consumers, at once."""
        self._closing.set()
        self._thread.join(_CLOSE_S)
        try:
            self._claims.close()
        except OSError as error:
            _LOG.warning("%s: claims are left until they expire: %s", self.name, error.strerror)

    def _receive(self, most: int) -> list[Message]:
        messages: list[Message] = []
        try:
            for claim in self._claim():
                if message := self._read(claim):
                    messages.append(message)
                if len(messages) >= most:
                    break
        except OSError:
            # What was claimed before is delivered; the next call meets the error again.
            if not messages:
                raise
        return messages

    def _claim(self) -> Iterator[Claim]:
        """Yield claims while there are pictures: those of the dead first."""
        now = time.monotonic()
        if now >= self._take_over_at:
            while claim := self._claims.take_over():
                yield claim
            self._take_over_at = now + self._beat_s
        if not self._ready and now >= self._look_at:
            self._look_at = now + _LOOK_S
            names = self._waiting.finished()
            place = self._place % max(1, len(names))
            self._ready.extend(names[place:] + names[:place])
        while self._ready:
            name = self._ready.popleft()
            try:
                unchanged = self._waiting.is_unchanged(name)
            except FileNotFoundError:
                continue
            except PermissionError:
                # Nobody can read it: `_read` says so.
                unchanged = True
            if unchanged and (claim := self._claims.claim(name)):
                yield claim

    def _read(self, claim: Claim) -> Message | None:
        """Return the message of a claimed picture, with a fault if it cannot be used.

        None if it is gone.
        """
        try:
            found, content, fault = _read_file(claim.path)
        except FileNotFoundError:
            self._claims.forget(claim)
            return None
        except OSError:
            self._claims.forget(claim)
            raise
        if len(content) > MOST_PICTURE_BYTES:
            fault = PictureTooLarge(f"it has more than {MOST_PICTURE_BYTES:,} bytes")
            content = b""
        name = os.fsencode(claim.name).decode("utf-8", "backslashreplace")
        return Message(
            source=self.name,
            id=f"{name}@{found.st_mtime_ns // 10**6}",
            picture=content,
            added_at=found.st_mtime,
            deliveries=claim.deliveries,
            handle=claim,
            fault=fault,
        )

    def _move(self, claim: Claim, folder: Path, reason: str | None) -> None:
        """Move a claimed picture, unless another consumer took this one for dead and has it."""
        try:
            modified_ms = claim.path.stat().st_mtime_ns // 10**6
        except FileNotFoundError:
            self._claims.forget(claim)
            return
        target = _reserve(folder, claim.name, modified_ms)
        explained = target.with_name(f"{target.name}.reason.txt")
        if reason is not None:
            write_atomic(explained, f"{reason}\n".encode())
        if not self._claims.end(claim, target):
            target.unlink(missing_ok=True)
            explained.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._closing.wait(self._beat_s):
            try:
                self._claims.beat()
            except OSError as error:
                _LOG.warning("%s: no sign of life could be written: %s", self.name, error.strerror)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            message = f"{self.name}: {error.strerror or error}"
            raise (Refused if error.errno in _FOR_GOOD else Unavailable)(message) from error


def _read_file(path: Path) -> tuple[os.stat_result, bytes, PictureError | None]:
    """Return facts and content of a picture, and a fault if it may not be read; raises OSError."""
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()), file.read(MOST_PICTURE_BYTES + 1), None
    except PermissionError as error:
        return path.stat(), b"", PictureUndecodable(f"it cannot be read: {error.strerror}")


def _reserve(folder: Path, name: str, modified_ms: int) -> Path:
    """Create an empty file under the name of a picture, or a similar one that is free.

    Cameras use a name again and again. Creating a file is exclusive, on NFS as well; a rename would
    replace the picture that is there.
    """
    folder.mkdir(exist_ok=True)
    plain = Path(name)
    dated = f"{plain.stem}.{modified_ms}"
    others = (f"{dated}-{number}{plain.suffix}" for number in count(2))
    for chosen in chain((name, f"{dated}{plain.suffix}"), others):
        try:
            (folder / chosen).touch(exist_ok=False)
        except FileExistsError:
            continue
        return folder / chosen
    raise AssertionError("numbers do not end")
