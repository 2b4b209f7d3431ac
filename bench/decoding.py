"""`python -m bench.decoding [JPEG ...]`: CPU time of OpenCV and simplejpeg, measured in turns.

Compares them at each size that `decode` chooses from, and says whether the pixels are identical.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from elastic_yolo.detector.opencv import decode_with_opencv
from elastic_yolo.picture.header import read_header

_PHOTO = Path(__file__).parents[1] / "client" / "photos" / "dog.jpg"
_ENLARGED = [(1920, 1080), (4000, 3000)]
_ROUNDS = 60


def main() -> int:
    """Print a line for each picture and size."""
    parser = argparse.ArgumentParser(
        description="Print the CPU time of JPEG decoders at each size that `decode` chooses from."
    )
    parser.add_argument(
        "pictures",
        metavar="JPEG",
        nargs="*",
        type=Path,
        help=f"default: {_PHOTO.name}, as it is and enlarged",
    )
    names = parser.parse_args().pictures
    pictures = {name.name: name.read_bytes() for name in names} if names else _usual_pictures()
    cv2.setNumThreads(1)
    print("picture, size | OpenCV, ms | simplejpeg, ms | identical pixels")
    for name, data in pictures.items():
        for factor in (1, 2, 4, 8):
            print(f"{name}, 1/{factor} | {_compare(data, factor)}", flush=True)
    return 0


def _usual_pictures() -> dict[str, bytes]:
    """Return JPEGs by name: the photograph as it is, and enlarged to other sizes."""
    pictures = {_PHOTO.name: _PHOTO.read_bytes()}
    with Image.open(_PHOTO) as photo:
        for width, height in _ENLARGED:
            target = io.BytesIO()
            photo.resize((width, height), Image.Resampling.BICUBIC).save(target, "JPEG", quality=90)
            pictures[f"{width}x{height}"] = target.getvalue()
    return pictures


def _compare(data: bytes, factor: int) -> str:
    """Return the median CPU times, and whether the pixels are identical, as cells of a row."""
    size = read_header(data).reduced_size(factor)
    with_opencv = partial(decode_with_opencv, data, factor)
    with_simplejpeg = partial(
        simplejpeg.decode_jpeg,
        data,
        "RGB",
        min_width=size[0],
        min_height=size[1],
        min_factor=factor,
    )
    same = np.array_equal(np.asarray(with_opencv()), np.asarray(with_simplejpeg()))
    times = _medians_ms([with_opencv, with_simplejpeg])
    return " | ".join(f"{milliseconds:.2f}" for milliseconds in times) + f" | {same}"


def _medians_ms(ways: Sequence[Callable[[], object]]) -> list[float]:
    """Return the median CPU time of each, measured in turns."""
    spent: list[list[float]] = [[] for _ in ways]
    for _ in range(_ROUNDS):
        for times, way in zip(spent, ways, strict=True):
            started = time.thread_time()
            way()
            times.append(1000 * (time.thread_time() - started))
    return [statistics.median(times) for times in spent]


if __name__ == "__main__":
    sys.exit(main())
