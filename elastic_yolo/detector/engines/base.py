"""The one interface that every engine has."""

from __future__ import annotations

from typing import Protocol

from elastic_yolo.detector.boxes import Floats, Image


class Engine(Protocol):
    """A network, ready to run. Used by one thread at a time."""

    batches: bool
    """Whether the pictures of a batch take less time together than one after the other."""

    @property
    def name(self) -> str:
        """What ENGINE calls it."""

    @property
    def precision(self) -> str:
        """The number format that it computes in: fp32, bf16, ..."""

    @property
    def device(self) -> str:
        """What DEVICE calls it: cpu or cuda."""

    def execute(self, images: Image) -> list[Floats]:
        """Run a batch.

        `images` is (n, height, width, 3) RGB at network size, uint8 or float32, with n at least 1.
        Returns for each head, in network order, (n, anchors * Head.values, rows, columns) float32
        as it enters the head.
        """

    def split(self, parts: int) -> list[Engine]:
        """Return so many engines that may run at once, each with its share of the threads.

        Together they do more pictures a second than this one, and each takes longer for its own;
        they are not to run beside it. Empty where nothing would be gained.
        """
