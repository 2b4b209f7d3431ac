"""Read every layer but the heads; formulas of sizes as in Darknet's `src/*_layer.c`."""

from __future__ import annotations

from elastic_yolo.detector.darknet.cfg import Section
from elastic_yolo.detector.darknet.layers import (
    Convolutional,
    GlobalAverage,
    Multiply,
    PassThrough,
    Pool,
    Reorg,
    Route,
    Shape,
    Shortcut,
    SpaceToDepth,
    Upsample,
)
from elastic_yolo.detector.darknet.place import (
    Place,
    activation_of,
    layer_indices,
    not_empty,
    positive,
    slide,
    strides,
)


def convolutional(section: Section, place: Place) -> Convolutional:
    """Read a [convolutional] section."""
    filters = positive(section, "filters", 1)
    size = positive(section, "size", 1)
    stride = strides(section)
    groups = positive(section, "groups", 1)
    if filters % groups or place.input.channels % groups:
        raise section.error("groups", f"a divisor of {place.input.channels} and {filters} channels")
    padding, dilation = _padding(section, size)
    output = slide(place.input, filters, 2 * padding, size, stride)
    window = dilation * (size - 1) + 1
    if slide(place.input, filters, 2 * padding * dilation, window, stride) != output:
        # convolutional_out_height forgets the dilation, im2col_cpu_ext does not.
        raise section.error("dilation", "padding by half the window: Darknet computes two sizes")
    return Convolutional(
        index=place.index,
        line=section.line,
        input=place.input,
        output=not_empty(section, output),
        size=size,
        stride=stride,
        # Darknet pads a dilated convolution by dilation times as much.
        padding=padding * dilation,
        dilation=dilation,
        groups=groups,
        batch_normalize=bool(section.integer("batch_normalize", 0)),
        # Darknet's own default for a convolution that names no activation.
        activation=activation_of(section, "logistic"),
        flipped=bool(section.integer("flipped", 0)),
    )


def _padding(section: Section, size: int) -> tuple[int, int]:
    """Return the padding on each side before it is dilated, and the dilation."""
    padding = section.integer("padding", 0)
    if section.integer("pad", 0):
        padding = size // 2
    if padding < 0:
        raise section.error("padding", "0 or more")
    if padding and size == 1:
        # forward_convolutional_layer takes the input as it is, and reads past its end.
        raise section.error("padding", "0 for a window of one pixel")
    # Darknet ignores dilation where there is nothing to spread.
    return padding, positive(section, "dilation", 1) if size > 1 else 1


def pool(section: Section, place: Place) -> Pool:
    """Read a [maxpool] or [local_avgpool] section."""
    stride = strides(section)
    size = positive(section, "size", positive(section, "stride", 1))
    padding = section.integer("padding", size - 1)
    if padding < 0:
        raise section.error("padding", "0 or more")
    output = slide(place.input, place.input.channels, padding, size, stride)
    return Pool(
        index=place.index,
        line=section.line,
        input=place.input,
        output=not_empty(section, output),
        size=size,
        stride=stride,
        padding=padding,
        average=section.kind == "local_avgpool",
    )


def global_average(section: Section, place: Place) -> GlobalAverage:
    """Read an [avgpool] section."""
    return GlobalAverage(place.index, section.line, Shape(place.input.channels, 1, 1))


def upsample(section: Section, place: Place) -> Upsample:
    """Read an [upsample] section."""
    stride = positive(section, "stride", 2)
    output = Shape(place.input.channels, place.input.height * stride, place.input.width * stride)
    return Upsample(place.index, section.line, output, stride, section.number("scale", 1.0))


def route(section: Section, place: Place) -> Route:
    """Read a [route] section."""
    sources = layer_indices(section, "layers", place)
    groups = positive(section, "groups", 1)
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


def shortcut(section: Section, place: Place) -> Shortcut:
    """Read a [shortcut] section."""
    sources = layer_indices(section, "from", place)
    for source in sources:
        shape = place.layers[source].output
        if (shape.height, shape.width) != (place.input.height, place.input.width):
            raise section.error(
                "from", f"layers of the size of {place.input}, but layer {source} has {shape}"
            )
    # forward_shortcut_layer hands hard_mish to activate(), which answers 0 to what it lacks.
    activation = activation_of(section, "linear", besides=("hard_mish",))
    return Shortcut(place.index, section.line, place.input, sources, activation)


def scale_channels(section: Section, place: Place) -> Multiply:
    """Read a [scale_channels] section."""
    source, shape = _source(section, place)
    per_pixel = bool(section.integer("scale_wh", 0))
    expected = Shape(1, shape.height, shape.width) if per_pixel else Shape(shape.channels, 1, 1)
    if place.input != expected:
        raise section.error("from", f"factors of shape {expected} before it, found {place.input}")
    return _multiply(section, place, source)


def sam(section: Section, place: Place) -> Multiply:
    """Read a [sam] section."""
    source, shape = _source(section, place)
    if place.input != shape:
        raise section.error("from", f"a layer of shape {place.input}, found {shape}")
    return _multiply(section, place, source)


def _source(section: Section, place: Place) -> tuple[int, Shape]:
    """Return the one layer that `from` names, and the shape of its output."""
    sources = layer_indices(section, "from", place)
    if len(sources) != 1:
        raise section.error("from", "one layer number")
    return sources[0], place.layers[sources[0]].output


def _multiply(section: Section, place: Place, source: int) -> Multiply:
    # parse_sam and parse_scale_channels warn of these, and their layers then answer 0.
    activation = activation_of(section, "linear", besides=("mish", "hard_mish", "swish"))
    output = place.layers[source].output
    return Multiply(place.index, section.line, output, source, activation)


def reorg(section: Section, place: Place) -> Reorg:
    """Read a [reorg] section."""
    stride, shape = _divisor(section, place), place.input
    if shape.channels % stride**2:
        raise section.error("stride", f"a number whose square divides {shape.channels} channels")
    return Reorg(place.index, section.line, shape, _deeper(shape, stride), stride)


def space_to_depth(section: Section, place: Place) -> SpaceToDepth:
    """Read a [reorg3d] section."""
    stride = _divisor(section, place)
    return SpaceToDepth(place.index, section.line, _deeper(place.input, stride), stride)


def _divisor(section: Section, place: Place) -> int:
    stride = positive(section, "stride", 1)
    if place.input.height % stride or place.input.width % stride:
        raise section.error("stride", f"a divisor of {place.input.height} and {place.input.width}")
    return stride


def _deeper(shape: Shape, stride: int) -> Shape:
    return Shape(shape.channels * stride**2, shape.height // stride, shape.width // stride)


def pass_through(section: Section, place: Place) -> PassThrough:
    """Read a section that does nothing when a network is only run."""
    return PassThrough(place.index, section.line, place.input)
