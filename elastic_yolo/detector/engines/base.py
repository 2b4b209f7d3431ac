"""The interface that every engine implements."""

from __future__ import annotations

from typing import Protocol

from elastic_yolo.detector.boxes import Floats, Image


class Engine(Protocol):
    """A network that is loaded and ready to run. Not thread-safe."""

    batches: bool
    """Whether a batch takes less time than its pictures one after the other."""

    @property
    def name(self) -> str:
        """The engine's name, as in ENGINE."""

    @property
    def precision(self) -> str:
        """The number format of its computations, as in PRECISION: fp32, bf16, ..."""

    @property
    def device(self) -> str:
        """The device's name, as in DEVICE: cpu or cuda."""

    def execute(self, images: Image) -> list[Floats]:
        """Run a batch.

        `images` is (n, height, width, 3) RGB at network size, uint8 or float32 from 0 to 255, with
        n at least 1. Returns the input of each head, in network order: (n, anchors * Head.values,
        rows, columns) float32.
        """

    def split(self, parts: int) -> list[Engine]:
        """Return `parts` engines that run concurrently, each with its share of the threads.

        Together they process more pictures a second than this engine, with a higher latency for
        each; they must not run at the same time as this engine. Returns an empty list if the engine
        gains nothing from it.
        """
