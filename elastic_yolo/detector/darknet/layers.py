"""Typed layers of a network, with their shapes. `plan.py` builds them from a .cfg file."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property

ACTIVATIONS = (
    "linear", "leaky", "relu", "relu6", "elu", "selu", "tanh", "logistic", "mish", "hard_mish",
    "swish",
)  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """Shape of a layer's output for one picture: channels, rows, columns."""

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
        """(filters, input channels of one group, size, size), as in the .weights file."""
        return (self.output.channels, self.input.channels // self.groups, self.size, self.size)

    @property
    def float_count(self) -> int:
        """Number of float32 values of this layer in the .weights file."""
        filters, channels, rows, columns = self.weights_shape
        return filters * channels * rows * columns + filters * (4 if self.batch_normalize else 1)

    @property
    def flop(self) -> int:
        """Multiplications and additions for one picture."""
        filters, channels, rows, columns = self.weights_shape
        return 2 * filters * channels * rows * columns * self.output.height * self.output.width


@dataclass(frozen=True)
class Pool:
    """Maximum or mean over a window; `padding` is the total of both sides, half of it before."""

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
    """Concatenate the outputs of other layers along the channels.

    With `groups`, only part `group` (from 0) of the channels of each.
    """

    index: int
    line: int
    output: Shape
    sources: tuple[int, ...]
    groups: int
    group: int


@dataclass(frozen=True)
class Shortcut:
    """Add the outputs of other layers to the output of the previous layer.

    Of a source with more channels only the first ones are added; a source with fewer is added to
    the first channels. Of a source n times as high and wide, every n-th pixel of every n-th row is
    added; of one as small, the pixels are added to every n-th. The factor is rounded down.
    """

    index: int
    line: int
    output: Shape
    sources: tuple[int, ...]
    activation: str


@dataclass(frozen=True)
class Multiply:
    """Multiply the output of another layer by that of the previous layer ([scale_channels], [sam]).

    A previous output of one row and column, or of one channel, is broadcast.
    """

    index: int
    line: int
    output: Shape
    source: int
    activation: str


@dataclass(frozen=True)
class Reorg:
    """Move pixels into channels in the order of Darknet's reorg_cpu (`src/blas.c`)."""

    index: int
    line: int
    input: Shape
    output: Shape
    stride: int


@dataclass(frozen=True)
class SpaceToDepth:
    """Move each square of pixels into channels, starting with all channels of its top left pixel.

    [reorg3d] does this (AlexeyAB's `src/reorg_layer.c`); [reorg] was intended to.
    """

    index: int
    line: int
    output: Shape
    stride: int


@dataclass(frozen=True)
class PassThrough:
    """A layer without effect at inference: [dropout], or [empty], which only the fork has."""

    index: int
    line: int
    output: Shape
    fork_only: bool


class Nms(Enum):
    """The overlap measure that a head uses for NMS."""

    IOU = "default"
    """`do_nms_sort`: by intersection over union."""
    DIOU = "diou"
    """`diounms_sort`: by intersection over union minus a term for the distance of the centres."""


@dataclass(frozen=True)
class Head:
    """A detection head: [yolo], [Gaussian_yolo] or [region].

    `network` is the network's input shape; `anchors` holds (width, height) in its pixels. With
    `softmax`, class scores are a softmax instead of sigmoids. A `gaussian` head predicts an
    uncertainty for each coordinate; `centre_offset` is the distance of the box's centre to the
    right of and below the predicted point, in sizes of the box. With `new_coords` the layer before
    has applied the sigmoid, and sizes are squares instead of exponentials. `scale_xy` widens the
    range of the centre around its cell.
    """

    index: int
    line: int
    output: Shape
    network: Shape
    classes: int
    anchors: tuple[tuple[float, float], ...]
    softmax: bool = False
    gaussian: bool = False
    centre_offset: float = 0.0
    new_coords: bool = False
    scale_xy: float = 1.0
    nms: Nms = Nms.IOU
    nms_beta: float = 0.6

    @cached_property
    def values(self) -> int:
        """Number of channels of one box: coordinates, objectness and classes."""
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
    """A network with consistent shapes.

    `notes` has a line, with file and line, for everything in the .cfg that Darknet ignores.
    """

    name: str
    input: Shape
    layers: tuple[Layer, ...]
    notes: tuple[str, ...] = ()

    @cached_property
    def heads(self) -> tuple[Head, ...]:
        """The detection heads in network order."""
        return tuple(layer for layer in self.layers if isinstance(layer, Head))

    @property
    def convolutions(self) -> tuple[Convolutional, ...]:
        """The layers with weights, in the order of the .weights file."""
        return tuple(layer for layer in self.layers if isinstance(layer, Convolutional))

    @property
    def flop(self) -> int:
        """Multiplications and additions of all convolutions for one picture."""
        return sum(layer.flop for layer in self.convolutions)

    @property
    def float_count(self) -> int:
        """Number of float32 values in the .weights file."""
        return sum(layer.float_count for layer in self.convolutions)

    @property
    def classes(self) -> int:
        """Number of classes, the same for every head."""
        return self.heads[0].classes
