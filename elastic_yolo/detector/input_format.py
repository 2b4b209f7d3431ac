"""What a network requires of its pictures. Without OpenCV, so that reading a model needs none."""

from __future__ import annotations

from dataclasses import dataclass

from elastic_yolo.names import Resize


@dataclass(frozen=True)
class InputFormat:
    """What a network requires of its pictures: size, (width, height) in pixels, and resize rule."""

    size: tuple[int, int]
    resize: Resize

    def __str__(self) -> str:
        """Return the form for messages: 416x416 letterbox."""
        width, height = self.size
        return f"{width}x{height} {self.resize}"

    def accepts(self, size: tuple[int, int], resize: Resize | None) -> bool:
        """Return whether the network takes a prepared picture; None is an unknown rule."""
        return size == self.size and resize in (None, self.resize)
