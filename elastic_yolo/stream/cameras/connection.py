"""One connection to a camera: opens it, and decodes what it sends as fast as it sends it."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from elastic_yolo.stream.cameras.arrivals import Arrivals

_OPTIONS = {
    # Over UDP, a full network loses parts of pictures.
    "rtsp_transport": "tcp",
    # Sound is not even requested.
    "allowed_media_types": "video",
    # To learn about the stream, at most a second is read, not five.
    "analyzeduration": "1000000",
    # What another server sends does not decide which of FFmpeg's many parsers reads it.
    "format_whitelist": "rtsp,mpjpeg,mjpeg",
}
# FFmpeg's parser returns a packet of these as soon as the next one begins.
_ENDED_BY_NEXT = frozenset({"h264", "hevc"})
# Opening reads packets ahead; if it took longer than the first time, they are too old to use. A
# packet for which the reader waited longer than the second time has just come.
_OPENED_QUICKLY_S = 0.3
_WAITED_S = 0.002
_BEHIND_S = 1.0
_CATCHING_UP_S = 5.0
_JPEG_BEGIN, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


def certificates() -> str | None:
    """Return the file of the certificates that a camera's is checked against, None without one.

    Cameras sign their own certificates, so without a file only the encryption is used.
    """
    return os.environ.get("SSL_CERT_FILE")


class ConnectionLost(Exception):
    """There is no connection, or it broke; the message is one line without credentials."""


class LoginRefused(Exception):
    """The camera requires another user name or password."""


@dataclass(frozen=True)
class Taken:
    """A frame, decoded or as the JPEG file that the camera sent, and when it was taken.

    `at` is in seconds since 1970.
    """

    picture: av.VideoFrame | bytes
    at: float


class CameraConnection:
    """Reads a camera until the connection breaks.

    Frames that cannot be decoded are left out. If decoding falls behind, packets are left out until
    the next key frame that is not late; `on_skip` is called for each.
    """

    def __init__(self, address: str, stall_s: float, on_skip: Callable[[], object]) -> None:
        """Keep the address; `stall_s` is how long the camera may send nothing."""
        self._address = address
        self._stall_s = stall_s
        self._on_skip = on_skip
        self._arrivals = Arrivals()
        self._behind_since: float | None = None
        self._skipping = False

    def frames(self) -> Generator[list[Taken]]:
        """Connect, and yield for each packet which frames it completed: none, one, or several.

        Raises ConnectionLost at the end, whatever ended it, or LoginRefused.
        """
        began_at = time.monotonic()
        with self._translated(f"no answer for {self._stall_s:g} s"):
            container = av.open(
                self._address,
                options={**_OPTIONS, **self._tls_options()},
                timeout=(self._stall_s, self._stall_s),
                metadata_errors="replace",
            )
        with container:
            if not container.streams.video:
                raise ConnectionLost("it sends no video")
            with self._translated(f"nothing came for {self._stall_s:g} s"):
                stale = time.monotonic() - began_at > _OPENED_QUICKLY_S
                yield from self._read(container, container.streams.video[0], stale=stale)
        raise ConnectionLost("the camera ended the stream")

    def _read(
        self, container: InputContainer, stream: VideoStream, *, stale: bool
    ) -> Iterator[list[Taken]]:
        codec = stream.codec_context
        # Threads for whole frames would hold back a frame each.
        codec.thread_type, codec.thread_count = "SLICE", 2
        ended_by_next = codec.name in _ENDED_BY_NEXT
        asked_s = usable_s = time.monotonic()
        before_at: float | None = None
        for packet in container.demux(stream):
            now_s, read_at = time.monotonic(), time.time()
            stale = stale and now_s - asked_s < _WAITED_S
            began_at = before_at if before_at and ended_by_next else read_at
            taken = self._decode(packet, began_at) if packet.size else []
            if taken:
                usable_s = now_s
            elif now_s - usable_s > self._stall_s:
                raise ConnectionLost(f"no frame could be decoded for {self._stall_s:g} s")
            yield [] if stale else taken
            before_at, asked_s = read_at, time.monotonic()

    def _decode(self, packet: av.Packet[VideoStream], began_at: float) -> list[Taken]:
        if packet.stream.codec_context.name == "mjpeg":
            # Readers of pictures decode only those that are wanted, smaller where that will do.
            file = bytes(packet)
            return [Taken(file, began_at)] if _is_whole(file) else []
        if self._is_behind(packet, began_at):
            self._on_skip()
            return []
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            # As at the start, before the first key frame.
            return []
        return [
            Taken(frame, self._arrivals.taken_at(_seconds(frame), began_at))
            for frame in frames
            if not frame.is_corrupt
        ]

    def _is_behind(self, packet: av.Packet[VideoStream], began_at: float) -> bool:
        """Return whether to leave out a packet, so that later ones are not late."""
        late_s = began_at - self._arrivals.taken_at(_seconds(packet), began_at)
        if late_s < _BEHIND_S:
            self._behind_since = None
            # Other frames are differences from frames that were left out.
            self._skipping = self._skipping and not packet.is_keyframe
            return self._skipping
        self._behind_since = self._behind_since or began_at
        self._skipping = True
        if began_at - self._behind_since > _CATCHING_UP_S:
            # Reading alone is never slower than the camera: its clock was set back.
            self._arrivals.begin_again()
        return True

    @contextmanager
    def _translated(self, timed_out: str) -> Iterator[None]:
        """Raise FFmpeg's errors as ours; their own text has the address with the password."""
        try:
            yield
        except av.error.HTTPUnauthorizedError:
            raise LoginRefused from None
        except av.error.ExitError:
            raise ConnectionLost(timed_out) from None
        except av.FFmpegError as error:
            raise ConnectionLost(self._describe(error)) from None

    def _tls_options(self) -> dict[str, str]:
        file = certificates()
        return {"tls_verify": "1", "ca_file": file} if file else {"tls_verify": "0"}

    def _describe(self, error: av.FFmpegError) -> str:
        reason = error.strerror or type(error).__name__
        if error.errno != errno.EIO:
            return reason
        # FFmpeg has one error for whatever keeps it from beginning.
        host = urlsplit(self._address).hostname
        try:
            socket.getaddrinfo(host, None)
        except OSError as unknown:
            return f"{host} cannot be resolved: {unknown.strerror}"
        return f"it sends no video that is understood, or its certificate is invalid ({reason})"


def _is_whole(file: bytes) -> bool:
    return file.startswith(_JPEG_BEGIN) and file.rstrip(b"\x00\r\n").endswith(_JPEG_END)


def _seconds(timed: av.Packet[VideoStream] | av.VideoFrame) -> float | None:
    if timed.pts is None or timed.time_base is None:
        return None
    return float(timed.pts * timed.time_base)
