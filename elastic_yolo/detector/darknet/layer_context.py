"""The context of a layer in its network, and readers for options that several sections share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from elastic_yolo.detector.darknet.cfg import Section
from elastic_yolo.detector.darknet.layers import ACTIVATIONS, Layer, Shape
from elastic_yolo.detector.errors import CfgError


@dataclass(frozen=True)
class LayerContext:
    """Index of a layer, the shapes that enter it and the network, and the layers before it."""

    index: int
    input: Shape
    network: Shape
    layers: Sequence[Layer]


def positive_option(section: Section, key: str, default: int) -> int:
    """Return an option that must be 1 or more; raises CfgError."""
    value = section.integer(key, default)
    if value < 1:
        raise section.error(key, "a positive whole number")
    return value


def stride_option(section: Section) -> tuple[int, int]:
    """Return the (vertical, horizontal) stride; raises CfgError."""
    both = positive_option(section, "stride", 1)
    return positive_option(section, "stride_y", both), positive_option(section, "stride_x", both)


def activation_option(section: Section, default: str, besides: Sequence[str] = ()) -> str:
    """Return the activation; raises CfgError for an unknown one and for those in `besides`."""
    known = [name for name in ACTIVATIONS if name not in besides]
    activation = section.text("activation", default)
    if activation not in known:
        # Darknet would use relu for a name that it does not know.
        raise section.error("activation", f"one of {', '.join(known)}{_comment_hint(activation)}")
    return activation


def _comment_hint(word: str) -> str:
    return "; Darknet knows no comment behind a word" if "#" in word or ";" in word else ""


def layer_indices_option(section: Section, key: str, context: LayerContext) -> tuple[int, ...]:
    """Return the indices of layers that an option names; negative ones count back from this layer.

    Raises CfgError for an empty option and for a layer that is not before this one.
    """
    numbers = section.integers(key)
    if not numbers:
        raise section.error(key, "one or more layer numbers")
    absolute = tuple(number if number >= 0 else context.index + number for number in numbers)
    if any(not 0 <= index < context.index for index in absolute):
        raise section.error(key, f"layers before this one (0 to {context.index - 1})")
    return absolute


def window_output(
    shape: Shape, channels: int, padding: int, window: int, stride: tuple[int, int]
) -> Shape:
    """Return the output shape of a sliding window; `padding` is the total of both sides."""
    return Shape(
        channels,
        (shape.height + padding - window) // stride[0] + 1,
        (shape.width + padding - window) // stride[1] + 1,
    )


def require_output(section: Section, shape: Shape) -> Shape:
    """Return a layer's output shape; raises CfgError if it is empty."""
    if shape.height < 1 or shape.width < 1:
        raise CfgError(
            f"{section.file}:{section.line}: [{section.written}] would have an empty output "
            f"({shape}): the network's width or height is too small"
        )
    return shape
