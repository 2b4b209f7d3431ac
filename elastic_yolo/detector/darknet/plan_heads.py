"""Read the detection heads: [yolo], [Gaussian_yolo] and [region].

Defaults: parse_yolo, parse_gaussian_yolo and parse_region of AlexeyAB's `src/parser.c`, which agree
with pjreddie's on all options that both have.
"""

from __future__ import annotations

from elastic_yolo.detector.darknet.cfg import Section
from elastic_yolo.detector.darknet.layer_context import LayerContext, positive_option
from elastic_yolo.detector.darknet.layers import Head, Nms, Shape

# With cornersnms, diounms_sort of `src/box.c` behaves like do_nms_sort.
_IOU_KINDS = ("default", "cornersnms")
_DIOU_KINDS = ("greedynms", "diounms")

# Distance of the box's centre from the predicted point, in sizes of the box.
_CENTRE_OFFSET = {"center": 0.0, "left_top": 0.5, "right_bottom": -0.5}

# No picture has more pixels in a row. Boxes are multiples of anchors, in float32.
_LARGEST_ANCHOR = 2**16


def yolo(section: Section, context: LayerContext) -> Head:
    """Read a [yolo] section."""
    return _yolo(section, context, gaussian=False)


def gaussian_yolo(section: Section, context: LayerContext) -> Head:
    """Read a [Gaussian_yolo] section."""
    return _yolo(section, context, gaussian=True)


def _yolo(section: Section, context: LayerContext, *, gaussian: bool) -> Head:
    total = positive_option(section, "num", 1)
    # First, because it checks `num` against the length of a list before anything of that size is
    # allocated.
    anchors = _anchors(section, total)
    # parse_yolo_mask of the fork counts no comma behind a #.
    mask = section.integers("mask", comment="#") or tuple(range(total))
    if any(not 0 <= anchor < total for anchor in mask):
        raise section.error("mask", f"anchor numbers from 0 to {total - 1}")
    nms, nms_beta = _nms(section)
    point = section.text("yolo_point", "center")
    if point not in _CENTRE_OFFSET:
        raise section.error("yolo_point", f"one of {', '.join(_CENTRE_OFFSET)}")
    head = Head(
        index=context.index,
        line=section.line,
        output=context.input,
        network=context.network,
        classes=positive_option(section, "classes", 20),
        anchors=tuple(anchors[anchor] for anchor in mask),
        gaussian=gaussian,
        centre_offset=_CENTRE_OFFSET[point],
        new_coords=bool(section.integer("new_coords", 0)),
        scale_xy=section.number("scale_x_y", 1.0),
        nms=nms,
        nms_beta=nms_beta,
    )
    return _checked(section, head)


def region(section: Section, context: LayerContext) -> Head:
    """Read a [region] section."""
    total = positive_option(section, "num", 1)
    shape = context.input
    # Anchors of [region] are in cells, those of [yolo] in pixels of the network's input.
    cell_width = context.network.width / shape.width
    cell_height = context.network.height / shape.height
    anchors = _anchors(section, total)
    head = Head(
        index=context.index,
        line=section.line,
        output=shape,
        network=context.network,
        classes=positive_option(section, "classes", 20),
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
    # greedynms is diounms with a fixed exponent (AlexeyAB's src/box.c, box_diou).
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
    sizes = section.numbers("anchors", 2 * total)
    if len(sizes) < 2 * total:
        raise section.error("anchors", f"{2 * total} numbers for num={total}, found {len(sizes)}")
    if not all(0 < size <= _LARGEST_ANCHOR for size in sizes):
        raise section.error("anchors", f"sizes above 0, at most {_LARGEST_ANCHOR:,}")
    return [(sizes[2 * i], sizes[2 * i + 1]) for i in range(total)]
