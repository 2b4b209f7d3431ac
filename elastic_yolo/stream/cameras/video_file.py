"""A video file as a source: every frame in order, or some of each second."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from threading import Lock

import av
from av.video.stream import VideoStream

from elastic_yolo.stream.cameras.frames import upright_frame
from elastic_yolo.stream.errors import BadAddress
from elastic_yolo.stream.message import Message

# Cameras whose clock was never set write 1904 or 1970.
_FIRST_YEAR = 1990
# Less is rounding, or sound that goes on for a moment.
_MISSING_S = 1.0
_LOG = logging.getLogger(__name__)


class VideoSource:
    """Reads a file once; the ids of its messages are the same whenever it is read.

    An id is the file's name and the number of the frame in the file, from 0: `yard.mp4#17`.
    `added_at` is when the frame was recorded: the time at which the file says the recording began,
    or the file's modification time less its duration, plus the time of the frame.
    """

    newest_only = False
    dropped = 0

    def __init__(self, path: str, fps: float | None = None) -> None:
        """Open the file; with `fps`, only that many frames of each second of the video are read.

        Raises BadAddress if it is no video that can be read.
        """
        self.name = path
        self.finished = False
        """Whether all frames were delivered."""
        self._fps = fps
        self._base = Path(path).name
        try:
            self._container = av.open(path, metadata_errors="replace")
        except (av.FFmpegError, OSError) as error:
            raise BadAddress(
                f"{path}: expected a video file or a folder: {error.strerror or error}"
            ) from None
        if not self._container.streams.video:
            self._container.close()
            raise BadAddress(f"{path}: the file has no video stream")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self._length_s = (self._container.duration or 0) / av.time_base
        self._began_at = self._read_began_at()
        self._damaged = 0
        self._frames = self._choose()
        # Closing a container that another thread reads ends the process.
        self._reading = Lock()
        self._closed = False

    def receive(self, most: int, wait_s: float) -> list[Message]:
        """Return the next frame, or none at the end; it is decoded here, so neither limit matters.

        One at a time: a frame of a large video has tens of megabytes.
        """
        del most, wait_s
        with self._reading:
            message = None if self._closed else next(self._frames, None)
        if message is None:
            self.finished = True
            return []
        return [message]

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Do nothing: a video that is read again is delivered from its start."""

    def reject(self, message: Message, reason: str) -> None:
        """Log the reason: a video has no place for what cannot be processed."""
        _LOG.warning("%s: frame %s was left out: %s", self.name, message.id, reason)

    def lag(self) -> None:
        """Return None: how many frames a file has is known only at its end."""
        return

    def close(self) -> None:
        """Close the file."""
        with self._reading:
            self._closed = True
            self._container.close()

    def _choose(self) -> Iterator[Message]:
        """Yield the frames to deliver: with `fps`, the first one at or after each tick."""
        tick, number, time_s = -1, -1, 0.0
        for number, (frame, time_s) in enumerate(self._timed()):
            if self._fps is not None:
                # A frame that is due at 0.2 s may have the timestamp 0.199999.
                own_tick = int(time_s * self._fps + 1e-6)
                if own_tick <= tick:
                    continue
                tick = own_tick
            yield Message(
                source=self.name,
                id=f"{self._base}#{number}",
                picture=upright_frame(frame),
                added_at=self._began_at + time_s,
            )
        self._report(number + 1, time_s)

    def _timed(self) -> Iterator[tuple[av.VideoFrame, float]]:
        """Yield all frames with their times, in seconds from the first; times never go back."""
        between_s = 1 / float(self._stream.average_rate or 25)
        first_s: float | None = None
        last_s = -between_s
        for frame in self._decode():
            if frame.pts is None:
                time_s = last_s + between_s
            else:
                first_s = frame.time if first_s is None else first_s
                time_s = frame.time - first_s
            last_s = max(last_s, time_s, 0.0)
            yield frame, last_s

    def _decode(self) -> Iterator[av.VideoFrame]:
        """Yield what can be decoded; a damaged packet costs its own frames only."""
        for packet in self._packets():
            try:
                yield from self._stream.decode(packet)
            except av.FFmpegError:
                self._damaged += 1

    def _packets(self) -> Iterator[av.Packet[VideoStream] | None]:
        try:
            yield from self._container.demux(self._stream)
        except av.FFmpegError:
            self._damaged += 1
            # Has the decoder return the frames that it still holds.
            yield None

    def _report(self, frames: int, end_s: float) -> None:
        missing_s = self._length_s - end_s
        if self._damaged:
            _LOG.warning("%s: damaged at %d places; %d frames", self.name, self._damaged, frames)
        elif missing_s > _MISSING_S:
            _LOG.warning("%s: ends %.0f s early, at %.0f s", self.name, missing_s, end_s)

    def _read_began_at(self) -> float:
        """Return when the recording began, in seconds since 1970."""
        try:
            began = datetime.fromisoformat(self._container.metadata["creation_time"])
        except (KeyError, ValueError):
            pass
        else:
            if began.year >= _FIRST_YEAR:
                return began.timestamp()
        return Path(self.name).stat().st_mtime - self._length_s
