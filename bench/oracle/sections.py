"""Write the text of a .cfg file section by section, with the parts that detectors share.

Every part reads the layer before it, adds its sections and returns the number of its last layer.
"""

from __future__ import annotations

from collections.abc import Sequence

# Those of COCO.
CLASSES = 80


class Sections:
    """A .cfg file under construction. Layers are numbered from 0, as in Darknet."""

    def __init__(self, size: int, activation: str) -> None:
        """Start a network for square pictures; `activation` is that of its convolutions."""
        self.activation = activation
        self._texts = [_section("net", width=size, height=size, channels=3)]

    @property
    def text(self) -> str:
        """The whole file."""
        return "\n".join(self._texts)

    @property
    def last(self) -> int:
        """The number of the last layer."""
        return len(self._texts) - 2

    def add(self, kind: str, **options: object) -> int:
        """Add a layer with its options, in the file's syntax."""
        self._texts.append(_section(kind, **options))
        return self.last

    def conv(self, filters: int, size: int = 1, stride: int = 1) -> int:
        """Add a convolution with batch normalization; only its stride changes the size."""
        return self.add(
            "convolutional",
            batch_normalize=1,
            filters=filters,
            size=size,
            stride=stride,
            pad=1,
            activation=self.activation,
        )

    def route(self, *sources: int) -> int:
        """Concatenate layers."""
        return self.add("route", layers=joined(sources))

    def maxpool(self, size: int, stride: int) -> int:
        """Add a maximum over windows."""
        return self.add("maxpool", size=size, stride=stride)

    def residual(self, filters: int, inner: int) -> int:
        """Add a residual block: 1x1 and 3x3 convolutions, and a shortcut (He et al., 2015)."""
        entering = self.last
        self.conv(inner)
        self.conv(filters, 3)
        return self.add("shortcut", **{"from": entering, "activation": "linear"})

    def cross_stage(self, filters: int, inner: int, blocks: int, *, out: int) -> int:
        """Add residual blocks that half of the channels bypass (CSP, Wang et al., 2019)."""
        entering = self.last
        past = self.conv(filters)
        self.route(entering)
        self.conv(filters)
        for _ in range(blocks):
            self.residual(filters, inner)
        self.route(self.conv(filters), past)
        return self.conv(out)

    def pyramid_pooling(self) -> int:
        """Concatenate the input with its maxima over 5, 9 and 13 pixels (SPP, He et al., 2014)."""
        entering = self.last
        pools = [self.maxpool(5, 1)]
        for size in (9, 13):
            self.route(entering)
            pools.append(self.maxpool(size, 1))
        return self.route(*reversed(pools), entering)

    def lateral(self, filters: int, source: int) -> int:
        """Double the size and concatenate with `source`, both reduced to `filters` channels."""
        self.conv(filters)
        larger = self.add("upsample", stride=2)
        self.route(source)
        return self.route(self.conv(filters), larger)

    def new_yolo(self, mask: Sequence[int], anchors: Sequence[int]) -> int:
        """Add the head of 2020, for 80 classes, and the convolution before it."""
        filters = len(mask) * (5 + CLASSES)
        self.add("convolutional", filters=filters, size=1, pad=1, activation="logistic")
        return self.add(
            "yolo",
            mask=joined(mask),
            anchors=joined(anchors),
            classes=CLASSES,
            num=len(anchors) // 2,
            scale_x_y=2.0,
            new_coords=1,
            nms_kind="diounms",
            beta_nms=0.6,
        )


def _section(kind: str, **options: object) -> str:
    return "".join([f"[{kind}]\n", *(f"{key}={value}\n" for key, value in options.items())])


def joined(numbers: Sequence[int]) -> str:
    """Return numbers as a .cfg lists them."""
    return ",".join(map(str, numbers))
