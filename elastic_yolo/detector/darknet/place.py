"""Where a layer stands in a network, and what sections of every kind say in the same way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from elastic_yolo.detector.darknet.cfg import Section
from elastic_yolo.detector.darknet.layers import ACTIVATIONS, Layer, Shape
from elastic_yolo.detector.errors import CfgError


@dataclass(frozen=True)
class Place:
    """Where a layer stands: its number, the shape that enters it, and the layers before."""

    index: int
    input: Shape
    network: Shape
    layers: Sequence[Layer]


def positive(section: Section, key: str, default: int) -> int:
    """Return an option that must be 1 or more."""
    value = section.integer(key, default)
    if value < 1:
        raise section.error(key, "a positive whole number")
    return value


def strides(section: Section) -> tuple[int, int]:
    """Return the (vertical, horizontal) stride."""
    both = positive(section, "stride", 1)
    return positive(section, "stride_y", both), positive(section, "stride_x", both)


def activation_of(section: Section, default: str, besides: Sequence[str] = ()) -> str:
    """Return the activation; `besides` are those that this kind of section does not know."""
    known = [name for name in ACTIVATIONS if name not in besides]
    activation = section.text("activation", default)
    if activation not in known:
        raise section.error("activation", f"one of {', '.join(known)}")
    return activation


def layer_indices(section: Section, key: str, place: Place) -> tuple[int, ...]:
    """Return the layers that an option names; negative numbers count back from this one."""
    numbers = section.integers(key)
    if not numbers:
        raise section.error(key, "one or more layer numbers")
    absolute = tuple(number if number >= 0 else place.index + number for number in numbers)
    if any(not 0 <= index < place.index for index in absolute):
        raise section.error(key, f"layers before this one (0 to {place.index - 1})")
    return absolute


def slide(shape: Shape, channels: int, padding: int, window: int, stride: tuple[int, int]) -> Shape:
    """Return what a window leaves of a shape; `padding` is the total on both sides."""
    return Shape(
        channels,
        (shape.height + padding - window) // stride[0] + 1,
        (shape.width + padding - window) // stride[1] + 1,
    )


def not_empty(section: Section, shape: Shape) -> Shape:
    """Return a shape; raises CfgError if it holds nothing."""
    if shape.height < 1 or shape.width < 1:
        raise CfgError(
            f"{section.file}:{section.line}: [{section.kind}] would have an empty output "
            f"({shape}): the network's width or height is too small"
        )
    return shape
