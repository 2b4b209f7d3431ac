"""Read all layers except the heads; size formulas as in Darknet's `src/*_layer.c`."""

from __future__ import annotations

from elastic_yolo.detector.darknet.cfg import Section
from elastic_yolo.detector.darknet.layer_context import (
    LayerContext,
    activation_option,
    layer_indices_option,
    positive_option,
    require_output,
    stride_option,
    window_output,
)
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


def convolutional(section: Section, context: LayerContext) -> Convolutional:
    """Read a [convolutional] section."""
    filters = positive_option(section, "filters", 1)
    size = positive_option(section, "size", 1)
    stride = stride_option(section)
    groups = positive_option(section, "groups", 1)
    if filters % groups or context.input.channels % groups:
        raise section.error(
            "groups", f"a divisor of {context.input.channels} and {filters} channels"
        )
    padding, dilation = _padding(section, size)
    output = window_output(context.input, filters, 2 * padding, size, stride)
    window = dilation * (size - 1) + 1
    if window_output(context.input, filters, 2 * padding * dilation, window, stride) != output:
        # convolutional_out_height ignores the dilation, im2col_cpu_ext does not.
        raise section.error("dilation", "padding by half the window: Darknet computes two sizes")
    return Convolutional(
        index=context.index,
        line=section.line,
        input=context.input,
        output=require_output(section, output),
        size=size,
        stride=stride,
        # Darknet multiplies the padding of a dilated convolution by the dilation.
        padding=padding * dilation,
        dilation=dilation,
        groups=groups,
        batch_normalize=bool(section.integer("batch_normalize", 0)),
        # Darknet's default activation of a convolution.
        activation=activation_option(section, "logistic"),
        flipped=bool(section.integer("flipped", 0)),
    )


def _padding(section: Section, size: int) -> tuple[int, int]:
    """Return the padding on each side before dilation, and the dilation."""
    padding = section.integer("padding", 0)
    if section.integer("pad", 0):
        padding = size // 2
    if padding < 0:
        raise section.error("padding", "0 or more")
    if padding and size == 1:
        # forward_convolutional_layer reads the unpadded input past its end.
        raise section.error("padding", "0 for a window of one pixel")
    # Darknet ignores the dilation of a 1x1 convolution.
    return padding, positive_option(section, "dilation", 1) if size > 1 else 1


def pool(section: Section, context: LayerContext) -> Pool:
    """Read a [maxpool] or [local_avgpool] section."""
    stride = stride_option(section)
    size = positive_option(section, "size", positive_option(section, "stride", 1))
    padding = section.integer("padding", size - 1)
    if padding < 0:
        raise section.error("padding", "0 or more")
    output = window_output(context.input, context.input.channels, padding, size, stride)
    return Pool(
        index=context.index,
        line=section.line,
        input=context.input,
        output=require_output(section, output),
        size=size,
        stride=stride,
        padding=padding,
        average=section.kind == "local_avgpool",
    )


def global_average(section: Section, context: LayerContext) -> GlobalAverage:
    """Read an [avgpool] section."""
    return GlobalAverage(context.index, section.line, Shape(context.input.channels, 1, 1))


def upsample(section: Section, context: LayerContext) -> Upsample:
    """Read an [upsample] section."""
    stride = positive_option(section, "stride", 2)
    output = Shape(
        context.input.channels, context.input.height * stride, context.input.width * stride
    )
    return Upsample(context.index, section.line, output, stride, section.number("scale", 1.0))


def route(section: Section, context: LayerContext) -> Route:
    """Read a [route] section."""
    sources = layer_indices_option(section, "layers", context)
    groups = positive_option(section, "groups", 1)
    group = section.integer("group_id", 0)
    if not 0 <= group < groups:
        raise section.error("group_id", f"a number from 0 to {groups - 1}")
    shapes = [context.layers[source].output for source in sources]
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
    return Route(context.index, section.line, output, sources, groups, group)


def shortcut(section: Section, context: LayerContext) -> Shortcut:
    """Read a [shortcut] section."""
    sources = layer_indices_option(section, "from", context)
    for source in sources:
        shape = context.layers[source].output
        # The fork refuses another size in general, and with several sources it is the fork's.
        if not _fits(shape, context.input, may_differ=len(sources) == 1):
            raise section.error(
                "from", f"layers of the size of {context.input}, but layer {source} has {shape}"
            )
    # forward_shortcut_layer calls activate(), which does not know hard_mish and returns 0.
    activation = activation_option(section, "linear", besides=("hard_mish",))
    return Shortcut(context.index, section.line, context.input, sources, activation)


def _fits(source: Shape, target: Shape, *, may_differ: bool) -> bool:
    """Return whether one map may be added to the other: shortcut_cpu of pjreddie's `src/blas.c`."""
    if (source.height, source.width) == (target.height, target.width):
        return True
    return may_differ and (
        source.width // target.width == source.height // target.height
        and target.width // source.width == target.height // source.height
    )


def scale_channels(section: Section, context: LayerContext) -> Multiply:
    """Read a [scale_channels] section."""
    source, shape = _source(section, context)
    per_pixel = bool(section.integer("scale_wh", 0))
    expected = Shape(1, shape.height, shape.width) if per_pixel else Shape(shape.channels, 1, 1)
    if context.input != expected:
        raise section.error("from", f"factors of shape {expected} before it, found {context.input}")
    return _multiply(section, context, source)


def sam(section: Section, context: LayerContext) -> Multiply:
    """Read a [sam] section."""
    source, shape = _source(section, context)
    if context.input != shape:
        raise section.error("from", f"a layer of shape {context.input}, found {shape}")
    return _multiply(section, context, source)


def _source(section: Section, context: LayerContext) -> tuple[int, Shape]:
    """Return the index of the one layer that `from` names, and its output shape."""
    sources = layer_indices_option(section, "from", context)
    if len(sources) != 1:
        raise section.error("from", "one layer number")
    return sources[0], context.layers[sources[0]].output


def _multiply(section: Section, context: LayerContext, source: int) -> Multiply:
    # parse_sam and parse_scale_channels warn about these activations; the layers then output 0.
    activation = activation_option(section, "linear", besides=("mish", "hard_mish", "swish"))
    output = context.layers[source].output
    return Multiply(context.index, section.line, output, source, activation)


def reorg(section: Section, context: LayerContext) -> Reorg:
    """Read a [reorg] section."""
    stride, shape = _divisor(section, context), context.input
    if shape.channels % stride**2:
        raise section.error("stride", f"a number whose square divides {shape.channels} channels")
    return Reorg(context.index, section.line, shape, _deeper(shape, stride), stride)


def space_to_depth(section: Section, context: LayerContext) -> SpaceToDepth:
    """Read a [reorg3d] section."""
    stride = _divisor(section, context)
    return SpaceToDepth(context.index, section.line, _deeper(context.input, stride), stride)


def _divisor(section: Section, context: LayerContext) -> int:
    stride = positive_option(section, "stride", 1)
    if context.input.height % stride or context.input.width % stride:
        raise section.error(
            "stride", f"a divisor of {context.input.height} and {context.input.width}"
        )
    return stride


def _deeper(shape: Shape, stride: int) -> Shape:
    return Shape(shape.channels * stride**2, shape.height // stride, shape.width // stride)


def pass_through(section: Section, context: LayerContext) -> PassThrough:
    """Read a section without effect at inference."""
    return PassThrough(
        context.index, section.line, context.input, fork_only=section.kind == "empty"
    )
