"""Larger and smaller YOLOv4: Wang, Bochkovskiy and Liao, "Scaled-YOLOv4", 2020, section 4.

Sizes and anchors as in `cfg/` of https://github.com/AlexeyAB/darknet, as in `yolov4.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.oracle.sections import Sections

_ANCHORS = (12, 16, 19, 36, 40, 28, 36, 75, 76, 55, 72, 146, 142, 110, 192, 243, 459, 401)
_P5_ANCHORS = (
    13, 17, 31, 25, 24, 51, 61, 45, 48, 102, 119, 96, 97, 189, 217, 184, 171, 384, 324, 451, 616,
    618, 800, 800,
)  # fmt: skip
_P6_ANCHORS = (
    13, 17, 31, 25, 24, 51, 61, 45, 61, 45, 48, 102, 119, 96, 97, 189, 97, 189, 217, 184, 171, 384,
    324, 451, 324, 451, 545, 357, 616, 618, 1024, 1024,
)  # fmt: skip


@dataclass(frozen=True)
class Scaled:
    """The parameters in which the family's members differ.

    `widths` and `blocks` are those of the backbone's stages, the first of which is a plain residual
    block or, with `first_crossed`, crossed like the others. `depth` counts the convolutions of 3x3
    in a block of the neck, `after_pooling` those behind the pooling. The heads stand where their
    input is, or at the end.
    """

    size: int
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    depth: int
    after_pooling: int
    activation: str = "mish"
    first_crossed: bool = False
    heads_last: bool = False
    anchors: tuple[int, ...] = _ANCHORS

    @property
    def heads(self) -> int:
        """The number of heads: one for each stage but the first two."""
        return len(self.widths) - 2


_CSP = Scaled(512, (64, 128, 256, 512, 1024), (1, 2, 8, 8, 4), 2, 1)
_X = Scaled(640, (80, 160, 320, 640, 1280), (1, 3, 10, 10, 5), 3, 2)
SCALED = {
    "yolov4-csp": _CSP,
    "yolov4-csp-swish": replace(_CSP, size=640, activation="swish", heads_last=True),
    "yolov4x-mish": _X,
    "yolov4-csp-x-mish": replace(_X, heads_last=True),
    "yolov4-csp-x-swish": replace(_X, activation="swish", heads_last=True),
    "yolov4-p5": Scaled(
        896, (64, 128, 256, 512, 1024), (1, 3, 15, 15, 7), 3, 1,
        first_crossed=True, heads_last=True, anchors=_P5_ANCHORS,
    ),
    "yolov4-p6": Scaled(
        1280, (64, 128, 256, 512, 1024, 1024), (1, 3, 15, 15, 7, 7), 3, 1,
        first_crossed=True, heads_last=True, anchors=_P6_ANCHORS,
    ),
}  # fmt: skip


def scaled(shape: Scaled) -> str:
    """Write the .cfg of a member of the family."""
    s = Sections(shape.size, shape.activation)
    stages = _backbone(s, shape)
    levels = _upwards(s, shape, stages)
    outputs = [s.last]
    if not shape.heads_last:
        _head(s, shape, 0)
    for number, level in enumerate(levels, start=1):
        if not shape.heads_last:
            s.route(outputs[-1])
        filters = shape.widths[number + 2] // 2
        s.route(s.conv(filters, 3, 2), level)
        outputs.append(_block(s, filters, shape.depth))
        if not shape.heads_last:
            _head(s, shape, number)
    if shape.heads_last:
        for number, output in enumerate(outputs):
            s.route(output)
            _head(s, shape, number)
    return s.text


def _backbone(s: Sections, shape: Scaled) -> list[int]:
    """Return the last layer of each stage."""
    s.conv(32, 3)
    stages = []
    for number, (width, blocks) in enumerate(zip(shape.widths, shape.blocks, strict=True)):
        s.conv(width, 3, 2)
        half = width // 2
        if number == 0 and not shape.first_crossed:
            stages.append(s.residual(width, half))
        else:
            stages.append(s.cross_stage(half, half, blocks, out=width))
    return stages


def _upwards(s: Sections, shape: Scaled, stages: list[int]) -> list[int]:
    """Add layers from the smallest stage to the first head's; return the others, largest first."""
    levels = [_pooled_block(s, shape.widths[-1] // 2, shape.after_pooling)]
    for stage in range(len(stages) - 2, 1, -1):
        filters = shape.widths[stage] // 2
        s.lateral(filters, stages[stage])
        levels.append(_block(s, filters, shape.depth))
    return levels[-2::-1]


def _block(s: Sections, filters: int, depth: int) -> int:
    """Add a stage of the neck: like the backbone's, without shortcuts."""
    entering = s.conv(filters)
    past = s.conv(filters)
    s.route(entering)
    _pairs(s, filters, depth)
    s.route(s.last, past)
    return s.conv(filters)


def _pooled_block(s: Sections, filters: int, after: int) -> int:
    """Add the block that pools between its convolutions."""
    entering = s.last
    past = s.conv(filters)
    s.route(entering)
    _pairs(s, filters, 1)
    s.conv(filters)
    s.pyramid_pooling()
    _pairs(s, filters, after)
    s.route(s.last, past)
    return s.conv(filters)


def _pairs(s: Sections, filters: int, count: int) -> None:
    for _ in range(count):
        s.conv(filters)
        s.conv(filters, 3)


def _head(s: Sections, shape: Scaled, number: int) -> None:
    s.conv(shape.widths[number + 2], 3)
    boxes = len(shape.anchors) // 2
    each = boxes // shape.heads
    s.new_yolo(range(each * number, each * (number + 1)), shape.anchors)
