"""YOLOv4 and its tiny versions: Bochkovskiy, Wang and Liao, "YOLOv4", 2020, section 3.4.

Sizes and anchors as in `cfg/` of https://github.com/AlexeyAB/darknet. What is written here is held
against the number of floats of the .weights files published there.
"""

from __future__ import annotations

from bench.oracle.sections import CLASSES, Sections, joined

_ANCHORS = (12, 16, 19, 36, 40, 28, 36, 75, 76, 55, 72, 146, 142, 110, 192, 243, 459, 401)
_TINY_ANCHORS = (10, 14, 23, 27, 37, 58, 81, 82, 135, 169, 344, 319)


def yolov4() -> str:
    """Write the .cfg of yolov4: CSPDarknet53, SPP, a path aggregation network, three heads."""
    s = Sections(608, "mish")
    s.conv(32, 3)
    s.conv(64, 3, 2)
    s.cross_stage(64, 32, 1, out=64)
    stages = []
    for width, blocks in ((128, 2), (256, 8), (512, 8), (1024, 4)):
        s.conv(width, 3, 2)
        stages.append(s.cross_stage(width // 2, width // 2, blocks, out=width))
    s.activation = "leaky"
    _alternate(s, 512, 3)
    s.pyramid_pooling()
    large = _alternate(s, 512, 3)
    s.lateral(256, stages[2])
    middle = _alternate(s, 256, 5)
    s.lateral(128, stages[1])
    last = _alternate(s, 128, 5)
    _head(s, 256, (0, 1, 2), 1.2)
    for filters, source, mask, scale in (
        (256, middle, (3, 4, 5), 1.1),
        (512, large, (6, 7, 8), 1.05),
    ):
        s.route(last)
        s.route(s.conv(filters, 3, 2), source)
        last = _alternate(s, filters, 5)
        _head(s, 2 * filters, mask, scale)
    return s.text


def _alternate(s: Sections, filters: int, count: int) -> int:
    """Add alternating convolutions of 1x1 and, with twice the filters, 3x3."""
    for number in range(count):
        if number % 2:
            s.conv(2 * filters, 3)
        else:
            s.conv(filters)
    return s.last


def _head(s: Sections, filters: int, mask: tuple[int, ...], scale: float) -> None:
    s.conv(filters, 3)
    _yolo(s, mask, _ANCHORS, scale)


def yolov4_tiny() -> str:
    """Write the .cfg of yolov4-tiny: two heads."""
    s = Sections(416, "leaky")
    stages = _tiny_backbone(s)
    _yolo(s, (3, 4, 5), _TINY_ANCHORS, 1.05)
    _tiny_head(s, stages[2], stages[3], 128)
    _yolo(s, (1, 2, 3), _TINY_ANCHORS, 1.05)
    return s.text


def yolov4_tiny_3l() -> str:
    """Write the .cfg of yolov4-tiny-3l: three heads."""
    s = Sections(608, "leaky")
    stages = _tiny_backbone(s)
    _yolo(s, (6, 7, 8), _ANCHORS, 1.05)
    middle = _tiny_head(s, stages[2], stages[3], 128)
    _yolo(s, (3, 4, 5), _ANCHORS, 1.05)
    _tiny_head(s, stages[1], middle, 64)
    _yolo(s, (0, 1, 2), _ANCHORS, 1.05)
    return s.text


def _tiny_backbone(s: Sections) -> list[int]:
    """Return the outputs of the three stages, and the input of the first head."""
    s.conv(32, 3, 2)
    s.conv(64, 3, 2)
    stages = []
    for width in (64, 128, 256):
        whole = s.conv(width, 3)
        # Half of the channels take the longer way.
        s.add("route", layers=whole, groups=2, group_id=1)
        first = s.conv(width // 2, 3)
        s.route(s.conv(width // 2, 3), first)
        stages.append(s.conv(width))
        s.route(whole, stages[-1])
        s.maxpool(2, 2)
    s.conv(512, 3)
    stages.append(s.conv(256))
    s.conv(512, 3)
    return stages


def _tiny_head(s: Sections, larger: int, smaller: int, filters: int) -> int:
    """Merge a stage with features of half its size; return its last convolution."""
    s.route(smaller)
    s.conv(filters)
    s.route(s.add("upsample", stride=2), larger)
    return s.conv(2 * filters, 3)


def _yolo(s: Sections, mask: tuple[int, ...], anchors: tuple[int, ...], scale: float) -> None:
    filters = len(mask) * (5 + CLASSES)
    s.add("convolutional", filters=filters, size=1, pad=1, activation="linear")
    s.add(
        "yolo",
        mask=joined(mask),
        anchors=joined(anchors),
        classes=CLASSES,
        num=len(anchors) // 2,
        scale_x_y=scale,
        nms_kind="greedynms",
        beta_nms=0.6,
    )
