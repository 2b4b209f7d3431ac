"""YOLOv7-tiny: Wang, Bochkovskiy and Liao, "YOLOv7", 2022, section 3.

Sizes and anchors as in `cfg/` of https://github.com/AlexeyAB/darknet, as in `yolov4.py`.
"""

from __future__ import annotations

from bench.oracle.sections import Sections

_ANCHORS = (10, 13, 16, 30, 33, 23, 30, 61, 62, 45, 59, 119, 116, 90, 156, 198, 373, 326)


def yolov7_tiny() -> str:
    """Write the .cfg of yolov7-tiny: three heads."""
    s = Sections(416, "leaky")
    s.conv(32, 3, 2)
    s.conv(64, 3, 2)
    stages = [_aggregation(s, 32)]
    for width in (64, 128, 256):
        s.maxpool(2, 2)
        stages.append(_aggregation(s, width))
    large = _pooled(s)
    s.lateral(128, stages[2])
    middle = _aggregation(s, 64)
    s.lateral(64, stages[1])
    outputs = [_aggregation(s, 32)]
    for width, level in ((64, middle), (128, large)):
        s.route(s.conv(2 * width, 3, 2), level)
        outputs.append(_aggregation(s, width))
    for number, output in enumerate(outputs):
        s.route(output)
        s.conv(128 * 2**number, 3)
        s.new_yolo(range(3 * number, 3 * number + 3), _ANCHORS)
    return s.text


def _aggregation(s: Sections, filters: int) -> int:
    """Concatenate the outputs of one, two and three convolutions (ELAN)."""
    entering = s.last
    past = s.conv(filters)
    s.route(entering)
    parts = [past, s.conv(filters), s.conv(filters, 3), s.conv(filters, 3)]
    s.route(*parts)
    return s.conv(2 * filters)


def _pooled(s: Sections) -> int:
    entering = s.last
    past = s.conv(256)
    s.route(entering)
    s.conv(256)
    s.pyramid_pooling()
    s.route(past, s.conv(256))
    return s.conv(256)
