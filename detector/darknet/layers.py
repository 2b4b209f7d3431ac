"""Turn the sections of a .cfg file into typed layers with known shapes.

Every default and every size formula is Darknet's (`src/parser.c`, `src/convolutional_layer.c`,
`src/maxpool_layer.c`, `src/yolo_layer.c`, 2018). A section or an option that is not supported
is an error naming its line: a graph that is silently wrong would be worse than none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from detector.darknet.cfg import Cfg, Section
from detector.errors import CfgError

ACTIVATIONS = ("linear", "leaky", "relu", "logistic")

# Options that steer training only. They cannot change what a network answers.
_TRAINING = frozenset(
    """
    batch subdivisions momentum decay angle saturation exposure hue learning_rate burn_in
    max_batches policy steps scales adam max_crop min_crop power gamma step aspect inputs
    ignore_thresh truth_thresh jitter random max map stopbackward dontload dontloadscales
    learning_rate_scale max_chart
    """.split()
)


@dataclass(frozen=True)
class Shape:
    """The output of a layer for one picture: channels, rows, columns."""

    channels: int
    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.channels}x{self.height}x{self.width}"


@dataclass(frozen=True)
class Convolutional:
    """A convolution, its optional batch normalisation, and an activation."""

    index: int
    line: int
    input: Shape
    output: Shape
    size: int
    stride: int
    padding: int
    groups: int
    batch_normalize: bool
    activation: str
    flipped: bool

    @property
    def weights_shape(self) -> tuple[int, int, int, int]:
        """(filters, input channels of one group, size, size), the order in the file."""
        return (self.output.channels, self.input.channels // self.groups, self.size, self.size)

    @property
    def float_count(self) -> int:
        """How many float32 values the .weights file holds for this layer."""
        filters, channels, rows, columns = self.weights_shape
        return filters * channels * rows * columns + filters * (4 if self.batch_normalize else 1)


@dataclass(frozen=True)
class Maxpool:
    """Maximum over a window; `padding` is the total on both sides, half of it before."""

    index: int
    line: int
    input: Shape
    output: Shape
    size: int
    stride: int
    padding: int


@dataclass(frozen=True)
class Upsample:
    """Repeat every pixel `stride` times in both directions."""

    index: int
    line: int
    output: Shape
    stride: int


@dataclass(frozen=True)
class Route:
    """Concatenate the outputs of other layers along the channels."""

    index: int
    line: int
    output: Shape
    sources: tuple[int, ...]


@dataclass(frozen=True)
class Shortcut:
    """Add the output of another layer to that of the previous one."""

    index: int
    line: int
    output: Shape
    source: int
    activation: str


@dataclass(frozen=True)
class Yolo:
    """A detection head. `anchors` holds (width, height) in network pixels for this head's mask."""

    index: int
    line: int
    output: Shape
    classes: int
    anchors: tuple[tuple[float, float], ...]


Layer = Convolutional | Maxpool | Upsample | Route | Shortcut | Yolo


@dataclass(frozen=True)
class Network:
    """A network whose shapes all fit together."""

    name: str
    input: Shape
    layers: tuple[Layer, ...]

    @property
    def heads(self) -> tuple[Yolo, ...]:
        """The detection heads in network order."""
        return tuple(layer for layer in self.layers if isinstance(layer, Yolo))

    @property
    def classes(self) -> int:
        """How many classes the heads score; the same for each."""
        return self.heads[0].classes


def plan_network(cfg: Cfg) -> Network:
    """Type and check every layer of a .cfg file.

    Raises CfgError for unknown sections, unsupported options, layers that do not fit together,
    and for a network without a detection head.
    """
    _check_options(cfg.net, "width height channels")
    shape = Shape(
        cfg.net.integer("channels", 0), cfg.net.integer("height", 0), cfg.net.integer("width", 0)
    )
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
        previous = layers[-1].output if layers else shape
        layers.append(reader(section, len(layers), previous, layers))
    network = Network(cfg.path.stem, shape, tuple(layers))
    _check_heads(network, cfg)
    return network


def _check_heads(network: Network, cfg: Cfg) -> None:
    if not network.heads:
        raise CfgError(f"{cfg.path.name}: no [yolo] layer: this is not a detection network")
    for head in network.heads:
        if head.classes != network.classes:
            raise CfgError(
                f"{cfg.path.name}:{head.line}: [yolo] has classes={head.classes}, "
                f"an earlier head has {network.classes}"
            )


def _convolutional(
    section: Section, index: int, previous: Shape, _layers: list[Layer]
) -> Convolutional:
    _check_options(
        section, "filters size stride pad padding groups batch_normalize activation flipped"
    )
    filters = _positive(section, "filters", 1)
    size = _positive(section, "size", 1)
    stride = _positive(section, "stride", 1)
    groups = _positive(section, "groups", 1)
    padding = size // 2 if section.integer("pad", 0) else section.integer("padding", 0)
    if filters % groups or previous.channels % groups:
        raise section.error("groups", f"a divisor of {previous.channels} and {filters} channels")
    output = Shape(
        filters,
        (previous.height + 2 * padding - size) // stride + 1,
        (previous.width + 2 * padding - size) // stride + 1,
    )
    return Convolutional(
        index=index,
        line=section.line,
        input=previous,
        output=_not_empty(section, output),
        size=size,
        stride=stride,
        padding=padding,
        groups=groups,
        batch_normalize=bool(section.integer("batch_normalize", 0)),
        # Darknet's own default for a convolution that names no activation.
        activation=_activation(section, "logistic"),
        flipped=bool(section.integer("flipped", 0)),
    )


def _maxpool(section: Section, index: int, previous: Shape, _layers: list[Layer]) -> Maxpool:
    _check_options(section, "size stride padding")
    stride = _positive(section, "stride", 1)
    size = _positive(section, "size", stride)
    padding = section.integer("padding", size - 1)
    output = Shape(
        previous.channels,
        (previous.height + padding - size) // stride + 1,
        (previous.width + padding - size) // stride + 1,
    )
    return Maxpool(
        index, section.line, previous, _not_empty(section, output), size, stride, padding
    )


def _upsample(section: Section, index: int, previous: Shape, _layers: list[Layer]) -> Upsample:
    _check_options(section, "stride")
    stride = _positive(section, "stride", 2)
    output = Shape(previous.channels, previous.height * stride, previous.width * stride)
    return Upsample(index, section.line, output, stride)


def _route(section: Section, index: int, _previous: Shape, layers: list[Layer]) -> Route:
    _check_options(section, "layers")
    sources = tuple(_layer_index(section, "layers", n, index) for n in section.integers("layers"))
    if not sources:
        raise section.error("layers", "one or more layer numbers")
    shapes = [layers[source].output for source in sources]
    first = shapes[0]
    for source, shape in zip(sources, shapes, strict=True):
        if (shape.height, shape.width) != (first.height, first.width):
            raise section.error(
                "layers",
                f"outputs of one size, but layer {sources[0]} has {first} "
                f"and layer {source} has {shape}",
            )
    channels = sum(shape.channels for shape in shapes)
    return Route(index, section.line, Shape(channels, first.height, first.width), sources)


def _shortcut(section: Section, index: int, previous: Shape, layers: list[Layer]) -> Shortcut:
    _check_options(section, "from activation")
    sources = section.integers("from")
    if len(sources) != 1:
        raise section.error("from", "one layer number")
    source = _layer_index(section, "from", sources[0], index)
    if layers[source].output != previous:
        raise section.error(
            "from",
            f"a layer with output {previous}, but layer {source} has {layers[source].output}",
        )
    return Shortcut(index, section.line, previous, source, _activation(section, "linear"))


def _yolo(section: Section, index: int, previous: Shape, _layers: list[Layer]) -> Yolo:
    _check_options(section, "classes num mask anchors")
    classes = _positive(section, "classes", 20)
    total = _positive(section, "num", 1)
    mask = section.integers("mask") or tuple(range(total))
    sizes = section.numbers("anchors")
    if len(sizes) < 2 * total:
        raise section.error("anchors", f"{2 * total} numbers for num={total}, found {len(sizes)}")
    if any(not 0 <= anchor < total for anchor in mask):
        raise section.error("mask", f"anchor numbers from 0 to {total - 1}")
    if previous.channels != len(mask) * (5 + classes):
        raise section.error(
            "classes",
            f"{len(mask)} anchors x (5 + {classes} classes) = {len(mask) * (5 + classes)} "
            f"filters in the layer before, found {previous.channels}",
        )
    anchors = tuple((sizes[2 * anchor], sizes[2 * anchor + 1]) for anchor in mask)
    return Yolo(index, section.line, previous, classes, anchors)


def _check_options(section: Section, known: str) -> None:
    allowed = _TRAINING.union(known.split())
    for key, option in section.options.items():
        if key not in allowed:
            raise CfgError(
                f"{section.file}:{option.line}: [{section.kind}] {key}= is not supported"
            )


def _positive(section: Section, key: str, default: int) -> int:
    value = section.integer(key, default)
    if value < 1:
        raise section.error(key, "a positive whole number")
    return value


def _activation(section: Section, default: str) -> str:
    activation = section.text("activation", default)
    if activation not in ACTIVATIONS:
        raise section.error("activation", f"one of {', '.join(ACTIVATIONS)}")
    return activation


def _layer_index(section: Section, key: str, number: int, index: int) -> int:
    absolute = number if number >= 0 else index + number
    if not 0 <= absolute < index:
        raise section.error(key, f"layers before this one (0 to {index - 1})")
    return absolute


def _not_empty(section: Section, shape: Shape) -> Shape:
    if shape.height < 1 or shape.width < 1:
        raise CfgError(
            f"{section.file}:{section.line}: [{section.kind}] would have an empty output "
            f"({shape}): the network's width or height is too small"
        )
    return shape


_Reader = Callable[[Section, int, Shape, list[Layer]], Layer]
_READERS: dict[str, _Reader] = {
    "convolutional": _convolutional,
    "maxpool": _maxpool,
    "upsample": _upsample,
    "route": _route,
    "shortcut": _shortcut,
    "yolo": _yolo,
}
