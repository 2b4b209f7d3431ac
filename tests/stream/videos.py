"""Video files for tests, whose frames say their number."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from elastic_yolo.detector.boxes import Pixels

WIDTH, HEIGHT = 320, 96
_BITS, _BAR_PIXELS = 10, 32
_TICKS = 1000
# ISO/IEC 14496-12, 8.3.2: the matrix of a track header as 16.16 and 2.30 fixed-point numbers.
_ONE, _UNIT = 0x10000, 0x40000000
_UPRIGHT = (_ONE, 0, 0, 0, _ONE, 0, 0, 0, _UNIT)
_TURNED = {
    90: (0, _ONE, 0, -_ONE, 0, 0, 0, 0, _UNIT),
    180: (-_ONE, 0, 0, 0, -_ONE, 0, 0, 0, _UNIT),
    270: (0, -_ONE, 0, _ONE, 0, 0, 0, 0, _UNIT),
}


def draw_number(number: int) -> Pixels:
    """Return a frame with a number, below 1024, as bars; its upper quarter is red."""
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for bar in range(_BITS):
        bit = number >> (_BITS - 1 - bar) & 1
        frame[:, bar * _BAR_PIXELS : (bar + 1) * _BAR_PIXELS] = 255 * bit
    frame[: HEIGHT // 4] = (255, 0, 0)
    return frame


def read_number(pixels: Pixels) -> int:
    """Return the number that a frame shows."""
    bars = pixels[HEIGHT * 3 // 4, _BAR_PIXELS // 2 :: _BAR_PIXELS, 1]
    return int("".join("1" if bar > 127 else "0" for bar in bars), 2)


def write_video(
    path: Path, times_s: Sequence[float], *, began: str | None = None, key_every: int = 250
) -> Path:
    """Write a video with a frame at each time, and with sound; returns `path`.

    `began` is the time at which the file says that the recording began, `key_every` how many frames
    there are from one key frame to the next.
    """
    with av.open(str(path), "w") as container:
        if began:
            container.metadata["creation_time"] = began
        video = container.add_stream("libx264", rate=30, options={"g": str(key_every)})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.codec_context.time_base = Fraction(1, _TICKS)
        sound = container.add_stream("aac", rate=16000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), "fltp", "mono")
        silence.sample_rate, silence.pts = 16000, 0
        for number, time_s in enumerate(times_s):
            frame = av.VideoFrame.from_ndarray(draw_number(number), format="rgb24")
            frame.pts, frame.time_base = round(time_s * _TICKS), Fraction(1, _TICKS)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        container.mux(sound.encode(silence))
        container.mux(sound.encode(None))
    return path


def turn_video(path: Path, degrees: int) -> None:
    """Have an MP4 file say that it is shown turned clockwise, as those of a phone do."""
    content = path.read_bytes()
    upright, turned = (_pack(matrix) for matrix in (_UPRIGHT, _TURNED[degrees]))
    header = content.index(b"tkhd")
    at = content.index(upright, header)
    path.write_bytes(content[:at] + turned + content[at + len(turned) :])


def _pack(matrix: Sequence[int]) -> bytes:
    return b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
