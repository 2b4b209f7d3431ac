"""What kind of pictures come."""

from __future__ import annotations

from prometheus_client import Histogram

from elastic_yolo.picture.header import PictureHeader
from services.common.observe.telemetry import Metrics

_BYTES = tuple(float(4**power) for power in range(6, 14))  # 4 KiB to 64 MiB
_PIXELS = (1e4, 1e5, 3e5, 1e6, 2e6, 4e6, 8e6, 1.6e7, 3.2e7, 6.4e7, 1e8)


class PictureMetrics:
    """Sizes of the pictures that were let in."""

    def __init__(self, metrics: Metrics) -> None:
        """Add them to the service's registry."""
        self._bytes = Histogram(
            "elastic_yolo_picture_bytes",
            "Sizes of picture files.",
            buckets=_BYTES,
            registry=metrics.registry,
        )
        self._pixels = Histogram(
            "elastic_yolo_picture_pixels",
            "Width times height of pictures.",
            buckets=_PIXELS,
            registry=metrics.registry,
        )

    def observe(self, size: int, header: PictureHeader) -> None:
        """Count a picture of `size` bytes."""
        self._bytes.observe(size)
        self._pixels.observe(header.width * header.height)
