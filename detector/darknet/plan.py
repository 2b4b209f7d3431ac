"""Turn the sections of a .cfg file into typed layers with known shapes.

Every default and every size formula is Darknet's: `src/parser.c` and the `src/*_layer.c` of
pjreddie's code (2018) and of AlexeyAB's fork, which added what YOLOv4 needs. A section or an option
that is not supported is an error naming its line: a graph that is silently wrong would be worse
than none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from detector.darknet.cfg import Cfg, Section
from detector.darknet.layers import (
    ACTIVATIONS,
    Convolutional,
    GlobalAverage,
    Head,
    Layer,
    Multiply,
    Network,
    Nms,
    PassThrough,
    Pool,
    Reorg,
    Route,
    Shape,
    Shortcut,
    Upsample,
)
from detector.darknet.limits import check_limits
from detector.darknet.options import check_options
from detector.errors import CfgError

# Two gigabytes for one layer's output: ten times what the largest known detector needs. Without a
# limit a number in a file that somebody sent would decide how much memory is asked for.
_MOST_VALUES = 2**29

# A picture has no more pixels in a row. Boxes are multiples of anchors, in float32.
_LARGEST_ANCHOR = 2**16


@dataclass(frozen=True)
class _Place:
    """Where a layer stands: its number, the shape that enters it, and the layers before."""

    index: int
    input: Shape
    network: Shape
    layers: list[Layer]


def plan_network(cfg: Cfg) -> Network:
    """Type and check every layer of a .cfg file.

    Raises CfgError for unknown sections, unsupported options, layers that do not fit together,
    and for a network without a detection head.
    """
    check_options(cfg.net)
    shape = Shape(
        cfg.net.integer("channels", 0), cfg.net.integer("height", 0), cfg.net.integer("width", 0)
    )
    _check_size(cfg.net, shape)
    if shape.channels != 3 or shape.height < 1 or shape.width < 1:
        raise CfgError(
            f"{cfg.net.file}:{cfg.net.line}: [net] asks for {shape}: "
            "expected channels=3 and a positive width and height"
        )
    layers: list[Layer] = []
    for section in cfg.layers:
        reader = _READERS.get(section.kind)
        if reader is None:
            raise CfgError(
                f"{section.file}:{section.line}: [{section.kind}] is not supported: "
                f"expected one of {', '.join(sorted(_READERS))}"
            )
        check_options(section)
        previous = layers[-1].output if layers else shape
        layer = reader(section, _Place(len(layers), previous, shape, layers))
        _check_size(section, layer.output)
        layers.append(layer)
    network = Network(cfg.path.stem, shape, tuple(layers))
    _check_heads(network, cfg)
    check_limits(network, cfg.path.name)
    return network


def _check_size(section: Section, shape: Shape) -> None:
    if shape.channels * shape.height * shape.width > _MOST_VALUES:
        raise CfgError(
            f"{section.file}:{section.line}: [{section.kind}] would put out {shape} values: "
            f"expected at most {_MOST_VALUES:,}"
        )


def _check_heads(network: Network, cfg: Cfg) -> None:
    if not network.heads:
        raise CfgError(f"{cfg.path.name}: no [yolo] or [region] layer: not a detection network")
    if not network.convolutions:
        raise CfgError(f"{cfg.path.name}: no [convolutional] layer: a network without weights")
    for head in network.heads:
        if head.classes != network.classes:
            raise CfgError(
                f"{cfg.path.name}:{head.line}: this head has classes={head.classes}, "
                f"an earlier one has {network.classes}"
            )


def _convolutional(section: Section, place: _Place) -> Convolutional:
    filters = _positive(section, "filters", 1)
    size = _positive(section, "size", 1)
    stride = _stride(section)
    groups = _positive(section, "groups", 1)
    # Darknet ignores dilation where there is nothing to spread.
    dilation = _positive(section, "dilation", 1) if size > 1 else 1
    padding = section.integer("padding", 0)
    if section.integer("pad", 0):
        padding = size // 2
    if padding < 0:
        raise section.error("padding", "0 or more")
    if filters % groups or place.input.channels % groups:
        raise section.error("groups", f"a divisor of {place.input.channels} and {filters} channels")
    # Darknet pads a dilated convolution by dilation times as much.
    padding *= dilation
    window = dilation * (size - 1) + 1
    output = _slide(place.input, filters, 2 * padding, window, stride)
    return Convolutional(
        index=place.index,
        line=section.line,
        input=place.input,
        output=_not_empty(section, output),
        size=size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        batch_normalize=bool(section.integer("batch_normalize", 0)),
        # Darknet's own default for a convolution that names no activation.
        activation=_activation(section, "logistic"),
        flipped=bool(section.integer("flipped", 0)),
    )


def _pool(section: Section, place: _Place) -> Pool:
    stride = _stride(section)
    size = _positive(section, "size", _positive(section, "stride", 1))
    padding = section.integer("padding", size - 1)
    if padding < 0:
        raise section.error("padding", "0 or more")
    output = _slide(place.input, place.input.channels, padding, size, stride)
    return Pool(
        index=place.index,
        line=section.line,
        input=place.input,
        output=_not_empty(section, output),
        size=size,
        stride=stride,
        padding=padding,
        average=section.kind == "local_avgpool",
    )


def _slide(
    shape: Shape, channels: int, padding: int, window: int, stride: tuple[int, int]
) -> Shape:
    """Return what a window leaves of a shape; `padding` is the total on both sides."""
    return Shape(
        channels,
        (shape.height + padding - window) // stride[0] + 1,
        (shape.width + padding - window) // stride[1] + 1,
    )


def _global_average(section: Section, place: _Place) -> GlobalAverage:
    return GlobalAverage(place.index, section.line, Shape(place.input.channels, 1, 1))


def _upsample(section: Section, place: _Place) -> Upsample:
    stride = _positive(section, "stride", 2)
    output = Shape(place.input.channels, place.input.height * stride, place.input.width * stride)
    return Upsample(place.index, section.line, output, stride, section.number("scale", 1.0))


def _route(section: Section, place: _Place) -> Route:
    sources = _layer_indices(section, "layers", place)
    groups = _positive(section, "groups", 1)
    group = section.integer("group_id", 0)
    if not 0 <= group < groups:
        raise section.error("group_id", f"a number from 0 to {groups - 1}")
    shapes = [place.layers[source].output for source in sources]
    first = shapes[0]
    for source, shape in zip(sources, shapes, strict=True):
        if (shape.height, shape.width) != (first.height, first.width):
            raise section.error(
                "layers",
                f"outputs of one size, but layer {sources[0]} has {first} "
                f"and layer {source} has {shape}",
            )
        if shape.channels % groups:
            raise section.error("groups", f"a divisor of the {shape.channels} channels of {source}")
    channels = sum(shape.channels for shape in shapes) // groups
    output = Shape(channels, first.height, first.width)
    return Route(place.index, section.line, output, sources, groups, group)


def _shortcut(section: Section, place: _Place) -> Shortcut:
    sources = _layer_indices(section, "from", place)
    for source in sources:
        shape = place.layers[source].output
        if (shape.height, shape.width) != (place.input.height, place.input.width):
            raise section.error(
                "from", f"layers of the size of {place.input}, but layer {source} has {shape}"
            )
    activation = _activation(section, "linear")
    return Shortcut(place.index, section.line, place.input, sources, activation)


def _scale_channels(section: Section, place: _Place) -> Multiply:
    per_pixel = bool(section.integer("scale_wh", 0))
    output = _one_source(section, place)
    expected = Shape(1, output.height, output.width) if per_pixel else Shape(output.channels, 1, 1)
    if place.input != expected:
        raise section.error("from", f"factors of shape {expected} before it, found {place.input}")
    return _multiply(section, place, output)


def _sam(section: Section, place: _Place) -> Multiply:
    output = _one_source(section, place)
    if place.input != output:
        raise section.error("from", f"a layer of shape {place.input}, found {output}")
    return _multiply(section, place, output)


def _multiply(section: Section, place: _Place, output: Shape) -> Multiply:
    (source,) = _layer_indices(section, "from", place)
    return Multiply(place.index, section.line, output, source, _activation(section, "linear"))


def _one_source(section: Section, place: _Place) -> Shape:
    sources = _layer_indices(section, "from", place)
    if len(sources) != 1:
        raise section.error("from", "one layer number")
    return place.layers[sources[0]].output


def _reorg(section: Section, place: _Place) -> Reorg:
    stride = _positive(section, "stride", 1)
    shape = place.input
    if shape.height % stride or shape.width % stride or shape.channels % stride**2:
        raise section.error(
            "stride", f"a divisor of {shape.height} and {shape.width} whose square divides "
            f"{shape.channels} channels"
        )  # fmt: skip
    output = Shape(shape.channels * stride**2, shape.height // stride, shape.width // stride)
    return Reorg(place.index, section.line, shape, output, stride)


def _pass_through(section: Section, place: _Place) -> PassThrough:
    return PassThrough(place.index, section.line, place.input)


def _yolo(section: Section, place: _Place) -> Head:
    total = _positive(section, "num", 1)
    # First, because it holds num against numbers that are there, before num of anything are made.
    anchors = _anchors(section, total)
    mask = section.integers("mask") or tuple(range(total))
    if any(not 0 <= anchor < total for anchor in mask):
        raise section.error("mask", f"anchor numbers from 0 to {total - 1}")
    kind = section.text("nms_kind", "default")
    if kind not in ("default", "greedynms", "diounms"):
        raise section.error("nms_kind", "default, greedynms or diounms")
    return Head(
        index=place.index,
        line=section.line,
        output=_head_output(section, place, len(mask)),
        classes=_positive(section, "classes", 20),
        anchors=tuple(anchors[anchor] for anchor in mask),
        new_coords=bool(section.integer("new_coords", 0)),
        scale_xy=section.number("scale_x_y", 1.0),
        nms=Nms.IOU if kind == "default" else Nms.DIOU,
        # greedynms is the same with a fixed exponent (AlexeyAB's src/box.c, box_diou).
        nms_beta=section.number("beta_nms", 0.6) if kind == "diounms" else 0.6,
    )


def _region(section: Section, place: _Place) -> Head:
    total = _positive(section, "num", 1)
    output = _head_output(section, place, total)
    # Anchors of [region] are in cells, those of [yolo] in pixels of the network.
    cell_width = place.network.width / output.width
    cell_height = place.network.height / output.height
    anchors = _anchors(section, total)
    return Head(
        index=place.index,
        line=section.line,
        output=output,
        classes=_positive(section, "classes", 20),
        anchors=tuple((width * cell_width, height * cell_height) for width, height in anchors),
        softmax=bool(section.integer("softmax", 0)),
    )


def _head_output(section: Section, place: _Place, anchors: int) -> Shape:
    classes = _positive(section, "classes", 20)
    if place.input.channels != anchors * (5 + classes):
        raise section.error(
            "classes",
            f"{anchors} anchors x (5 + {classes} classes) = {anchors * (5 + classes)} "
            f"filters in the layer before, found {place.input.channels}",
        )
    return place.input


def _anchors(section: Section, total: int) -> list[tuple[float, float]]:
    sizes = section.numbers("anchors")
    if len(sizes) < 2 * total:
        raise section.error("anchors", f"{2 * total} numbers for num={total}, found {len(sizes)}")
    if not all(0 < size <= _LARGEST_ANCHOR for size in sizes[: 2 * total]):
        raise section.error("anchors", f"sizes above 0, at most {_LARGEST_ANCHOR:,}")
    return [(sizes[2 * i], sizes[2 * i + 1]) for i in range(total)]


def _positive(section: Section, key: str, default: int) -> int:
    value = section.integer(key, default)
    if value < 1:
        raise section.error(key, "a positive whole number")
    return value


def _stride(section: Section) -> tuple[int, int]:
    both = _positive(section, "stride", 1)
    return _positive(section, "stride_y", both), _positive(section, "stride_x", both)


def _activation(section: Section, default: str) -> str:
    activation = section.text("activation", default)
    if activation not in ACTIVATIONS:
        raise section.error("activation", f"one of {', '.join(ACTIVATIONS)}")
    return activation


def _layer_indices(section: Section, key: str, place: _Place) -> tuple[int, ...]:
    numbers = section.integers(key)
    if not numbers:
        raise section.error(key, "one or more layer numbers")
    absolute = tuple(number if number >= 0 else place.index + number for number in numbers)
    if any(not 0 <= index < place.index for index in absolute):
        raise section.error(key, f"layers before this one (0 to {place.index - 1})")
    return absolute


def _not_empty(section: Section, shape: Shape) -> Shape:
    if shape.height < 1 or shape.width < 1:
        raise CfgError(
            f"{section.file}:{section.line}: [{section.kind}] would have an empty output "
            f"({shape}): the network's width or height is too small"
        )
    return shape


_READERS: dict[str, Callable[[Section, _Place], Layer]] = {
    "avgpool": _global_average,
    "convolutional": _convolutional,
    "dropout": _pass_through,
    "local_avgpool": _pool,
    "maxpool": _pool,
    "region": _region,
    "reorg": _reorg,
    "route": _route,
    "sam": _sam,
    "scale_channels": _scale_channels,
    "shortcut": _shortcut,
    "upsample": _upsample,
    "yolo": _yolo,
}
