"""A bounded sample of the pictures that a version receives, to measure precisions with.

It stays in memory: the measuring process gets it through a pipe.
"""

from __future__ import annotations

import hashlib
import time

import numpy as np

from elastic_yolo.detector.boxes import SCORE, Floats, Image

# Bounds for what callers send: number, bytes, and time between two pictures. The time spreads the
# sample, and limits the hashing and copying to a fraction of a millisecond four times a second.
MAX_PICTURES = 64
MAX_BYTES = 64 * 2**20
INTERVAL_S = 0.25


class PictureSample:
    """Distinct pictures with a detected object. Belongs to the event loop."""

    def __init__(self, threshold: float, interval_s: float = INTERVAL_S) -> None:
        """Keep nothing yet; `threshold` is the score from which a detection counts."""
        self._threshold = threshold
        self._interval_s = interval_s
        self._images: list[Image] = []
        self._digests: set[bytes] = set()
        self._next_s = 0.0
        self._closed = False

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._images)

    @property
    def images(self) -> list[Image]:
        """The pictures, (height, width, 3) uint8 each."""
        return list(self._images)

    def offer(self, images: Image, detections: list[Floats]) -> None:
        """Keep a copy of a request's first picture if it adds to the sample.

        `images` are (n, height, width, 3); `detections` one (k, 6) array for each.
        """
        now = time.monotonic()
        if self._closed or now < self._next_s or images.dtype != np.uint8:
            return
        if not self._has_room(images[0].nbytes) or not self._shows_object(detections[0]):
            return
        self._next_s = now + self._interval_s
        content = images[0].tobytes()
        digest = hashlib.blake2b(content, digest_size=16).digest()
        if digest not in self._digests:
            self._digests.add(digest)
            self._images.append(np.frombuffer(content, np.uint8).reshape(images[0].shape))

    def close(self) -> None:
        """Free the pictures and keep no more."""
        self._closed = True
        self._images.clear()
        self._digests.clear()

    def _has_room(self, size: int) -> bool:
        return len(self) < MAX_PICTURES and size * (len(self) + 1) <= MAX_BYTES

    def _shows_object(self, rows: Floats) -> bool:
        # A picture without objects says nothing about the objects that a precision loses.
        return bool((rows[:, SCORE] > self._threshold).any())
