"""The layers of a network, typed, with known shapes. `plan.py` reads them from a .cfg file."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

ACTIVATIONS = (
    "linear", "leaky", "relu", "relu6", "elu", "selu", "tanh", "logistic", "mish", "hard_mish",
    "swish",
)  # fmt: skip


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
    stride: tuple[int, int]
    """(vertical, horizontal)."""
    padding: int
    dilation: int
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

    @property
    def flop(self) -> int:
        """Multiplications and additions for one picture."""
        filters, channels, rows, columns = self.weights_shape
        return 2 * filters * channels * rows * columns * self.output.height * self.output.width


@dataclass(frozen=True)
class Pool:
    """Maximum or mean over a window; `padding` is the total on both sides, half of it before."""

    index: int
    line: int
    input: Shape
    output: Shape
    size: int
    stride: tuple[int, int]
    """(vertical, horizontal)."""
    padding: int
    average: bool


@dataclass(frozen=True)
class GlobalAverage:
    """The mean of each channel."""

    index: int
    line: int
    output: Shape


@dataclass(frozen=True)
class Upsample:
    """Repeat every pixel `stride` times in both directions, then multiply by `scale`."""

    index: int
    line: int
    output: Shape
    stride: int
    scale: float


@dataclass(frozen=True)
class Route:
    """Concatenate other layers' outputs along the channels, or part `group` of `groups` of each."""

    index: int
    line: int
    output: Shape
    sources: tuple[int, ...]
    groups: int
    group: int


@dataclass(frozen=True)
class Shortcut:
    """Add the outputs of other layers to that of the previous one.

    A source with more channels gives only its first ones; one with fewer is added to the first.
    """

    index: int
    line: int
    output: Shape
    sources: tuple[int, ...]
    activation: str


@dataclass(frozen=True)
class Multiply:
    """Multiply the output of another layer by that of the previous one ([scale_channels], [sam]).

    The previous output may have one row and column, or one channel, and is then repeated.
    """

    index: int
    line: int
    output: Shape
    source: int
    activation: str


@dataclass(frozen=True)
class Reorg:
    """Trade resolution for channels in Darknet's peculiar order (`src/blas.c`, reorg_cpu)."""

    index: int
    line: int
    input: Shape
    output: Shape
    stride: int


@dataclass(frozen=True)
class SpaceToDepth:
    """Trade resolution for channels: first all channels of the top left pixel of each square.

    That is what [reorg3d] does (AlexeyAB's `src/reorg_layer.c`), and what [reorg] was meant to do.
    """

    index: int
    line: int
    output: Shape
    stride: int


@dataclass(frozen=True)
class PassThrough:
    """A layer that does nothing when a network is only run, such as [dropout]."""

    index: int
    line: int
    output: Shape


class Nms(Enum):
    """How a head wants overlapping boxes removed."""

    IOU = "default"
    """`do_nms_sort`: by intersection over union."""
    DIOU = "diou"
    """`diounms_sort`: by intersection over union, less a term for the distance of the centres."""


@dataclass(frozen=True)
class Head:
    """A detection head: [yolo], [Gaussian_yolo] or [region].

    `network` is what enters the network, `anchors` holds (width, height) in its pixels. A [region]
    head scores its classes by softmax. A gaussian one says of each coordinate how unsure it is, and
    `beyond` is how far the centre lies right of and below the point that it predicts, in sizes of
    the box. With `new_coords` the layer before has applied the sigmoid already, and sizes are
    squares instead of exponentials. `scale_xy` stretches the centre's range around its cell.
    """

    index: int
    line: int
    output: Shape
    network: Shape
    classes: int
    anchors: tuple[tuple[float, float], ...]
    softmax: bool = False
    gaussian: bool = False
    beyond: float = 0.0
    new_coords: bool = False
    scale_xy: float = 1.0
    nms: Nms = Nms.IOU
    nms_beta: float = 0.6

    @property
    def values(self) -> int:
        """How many channels describe one box: place, size, objectness and classes."""
        return (9 if self.gaussian else 5) + self.classes


Layer = (
    Convolutional
    | Pool
    | GlobalAverage
    | Upsample
    | Route
    | Shortcut
    | Multiply
    | Reorg
    | SpaceToDepth
    | PassThrough
    | Head
)


@dataclass(frozen=True)
class Network:
    """A network whose shapes all fit together."""

    name: str
    input: Shape
    layers: tuple[Layer, ...]

    @property
    def heads(self) -> tuple[Head, ...]:
        """The detection heads in network order."""
        return tuple(layer for layer in self.layers if isinstance(layer, Head))

    @property
    def convolutions(self) -> tuple[Convolutional, ...]:
        """The layers that have weights, in the order of the .weights file."""
        return tuple(layer for layer in self.layers if isinstance(layer, Convolutional))

    @property
    def flop(self) -> int:
        """Multiplications and additions of all convolutions for one picture."""
        return sum(layer.flop for layer in self.convolutions)

    @property
    def float_count(self) -> int:
        """How many float32 values the .weights file holds."""
        return sum(layer.float_count for layer in self.convolutions)

    @property
    def classes(self) -> int:
        """How many classes the heads score; the same for each."""
        return self.heads[0].classes
