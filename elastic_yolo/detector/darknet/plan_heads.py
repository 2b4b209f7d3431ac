"""Read the detection heads: [yolo], [Gaussian_yolo] and [region].

Defaults: parse_yolo, parse_gaussian_yolo and parse_region of AlexeyAB's `src/parser.c`, which agree
with pjreddie's where both have an option.
"""

from __future__ import annotations

from elastic_yolo.detector.darknet.cfg import Section
from elastic_yolo.detector.darknet.layers import Head, Nms, Shape
from elastic_yolo.detector.darknet.place import Place, positive

# With cornersnms, diounms_sort of `src/box.c` does what do_nms_sort does.
_IOU_KINDS = ("default", "cornersnms")
_DIOU_KINDS = ("greedynms", "diounms")

# How far the centre of a box lies beyond the predicted point, in sizes of the box.
_BEYOND = {"center": 0.0, "left_top": 0.5, "right_bottom": -0.5}

# A picture has no more pixels in a row. Boxes are multiples of anchors, in float32.
_LARGEST_ANCHOR = 2**16


def yolo(section: Section, place: Place) -> Head:
    """Read a [yolo] section."""
    return _yolo(section, place, gaussian=False)


def gaussian_yolo(section: Section, place: Place) -> Head:
    """Read a [Gaussian_yolo] section."""
    return _yolo(section, place, gaussian=True)


def _yolo(section: Section, place: Place, *, gaussian: bool) -> Head:
    total = positive(section, "num", 1)
    # First, because it holds num against numbers that are there, before num of anything are made.
    anchors = _anchors(section, total)
    mask = section.integers("mask") or tuple(range(total))
    if any(not 0 <= anchor < total for anchor in mask):
        raise section.error("mask", f"anchor numbers from 0 to {total - 1}")
    nms, nms_beta = _nms(section)
    point = section.text("yolo_point", "center")
    if point not in _BEYOND:
        raise section.error("yolo_point", f"one of {', '.join(_BEYOND)}")
    head = Head(
        index=place.index,
        line=section.line,
        output=place.input,
        network=place.network,
        classes=positive(section, "classes", 20),
        anchors=tuple(anchors[anchor] for anchor in mask),
        gaussian=gaussian,
        beyond=_BEYOND[point],
        new_coords=bool(section.integer("new_coords", 0)),
        scale_xy=section.number("scale_x_y", 1.0),
        nms=nms,
        nms_beta=nms_beta,
    )
    return _checked(section, head)


def region(section: Section, place: Place) -> Head:
    """Read a [region] section."""
    total = positive(section, "num", 1)
    shape = place.input
    # Anchors of [region] are in cells, those of [yolo] in pixels of the network.
    cell_width = place.network.width / shape.width
    cell_height = place.network.height / shape.height
    anchors = _anchors(section, total)
    head = Head(
        index=place.index,
        line=section.line,
        output=shape,
        network=place.network,
        classes=positive(section, "classes", 20),
        anchors=tuple((width * cell_width, height * cell_height) for width, height in anchors),
        softmax=bool(section.integer("softmax", 0)),
    )
    return _checked(section, head)


def _nms(section: Section) -> tuple[Nms, float]:
    kind = section.text("nms_kind", "default")
    if kind in _IOU_KINDS:
        return Nms.IOU, 0.6
    if kind not in _DIOU_KINDS:
        raise section.error("nms_kind", f"one of {', '.join((*_IOU_KINDS, *_DIOU_KINDS))}")
    # greedynms is the same with a fixed exponent (AlexeyAB's src/box.c, box_diou).
    return Nms.DIOU, section.number("beta_nms", 0.6) if kind == "diounms" else 0.6


def _checked(section: Section, head: Head) -> Head:
    shape: Shape = head.output
    anchors, values = len(head.anchors), head.values
    if shape.channels != anchors * values:
        raise section.error(
            "classes",
            f"{anchors} anchors x ({values - head.classes} + {head.classes} classes) = "
            f"{anchors * values} filters in the layer before, found {shape.channels}",
        )
    return head


def _anchors(section: Section, total: int) -> list[tuple[float, float]]:
    sizes = section.numbers("anchors")
    if len(sizes) < 2 * total:
        raise section.error("anchors", f"{2 * total} numbers for num={total}, found {len(sizes)}")
    if not all(0 < size <= _LARGEST_ANCHOR for size in sizes[: 2 * total]):
        raise section.error("anchors", f"sizes above 0, at most {_LARGEST_ANCHOR:,}")
    return [(sizes[2 * i], sizes[2 * i + 1]) for i in range(total)]
