"""`python -m bench.decoding PICTURE ...`: CPU time of JPEG decoders, one after the other.

Compares OpenCV with simplejpeg at each size that `decode` chooses from, and says whether the pixels
are identical.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from elastic_yolo.detector.opencv import decode_with_opencv
from elastic_yolo.picture.header import read_header

_ROUNDS = 60


def main() -> int:
    """Print a line for each picture and size."""
    cv2.setNumThreads(1)
    print("picture, size | OpenCV, ms | simplejpeg, ms | identical pixels")
    for name in sys.argv[1:]:
        data = Path(name).read_bytes()
        header = read_header(data)
        for factor in (1, 2, 4, 8):
            size = header.reduced_size(factor)
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
            ways = [with_opencv, with_simplejpeg]
            times = _medians_ms(ways)
            cells = " | ".join(f"{milliseconds:.2f}" for milliseconds in times)
            print(f"{Path(name).name}, 1/{factor} | {cells} | {same}")
    return 0


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
