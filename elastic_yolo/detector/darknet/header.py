"""Read the header of a Darknet .weights file, and tell what a file with a wrong one may be.

Layout (Darknet `src/parser.c`, load_weights_upto): int32 major, minor, revision; then `seen`, the
number of pictures seen in training, 64 bits from version 0.2 on and 32 bits before.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from elastic_yolo.detector.darknet.layers import Convolutional, Network
from elastic_yolo.detector.errors import WeightsError
from elastic_yolo.detector.foreign import foreign_kind


@dataclass(frozen=True)
class Header:
    """The header of a .weights file; `size` is its length in bytes."""

    version: tuple[int, int, int]
    seen: int
    size: int


def parse_header(raw: bytes, size: int, path: Path, network: Network) -> Header:
    """Parse the first bytes of a file of `size` bytes; raises WeightsError."""
    too_short = f"{path.name}: {len(raw)} bytes are too few for a Darknet header"
    if kind := foreign_kind(raw):
        raise WeightsError(f"{path.name}: {kind}")
    if len(raw) < 16:
        raise WeightsError(too_short)
    major, minor, revision = (int(n) for n in np.frombuffer(raw, "<i4", 3))
    if not _is_version(major, minor):
        raise WeightsError(
            f"{path.name}: {_what_instead(raw)}: not a Darknet .weights file"
            f"{length_hint(network, size)}"
        )
    wide_seen = major * 10 + minor >= 2 and major < 1000 and minor < 1000
    if wide_seen and len(raw) < 20:
        raise WeightsError(too_short)
    seen = int(np.frombuffer(raw, "<u8" if wide_seen else "<u4", 1, offset=12)[0])
    return Header((major, minor, revision), seen, 20 if wide_seen else 16)


def _is_version(major: int, minor: int) -> bool:
    return 0 <= major < 10_000 and 0 <= minor < 10_000


def _what_instead(raw: bytes) -> str:
    """Describe a file with an invalid header by its first bytes."""
    text = raw[:20].decode("ascii", errors="replace")
    if text.isascii() and text.replace("\n", "").replace("\r", "").isprintable():
        # A server's message, or the .cfg.
        return f"text that begins with {text!r}"
    if _is_version(*(int(n) for n in np.frombuffer(raw, ">i4", 2))):
        return "the byte order is big-endian, where Darknet writes little-endian"
    major, minor = np.frombuffer(raw, "<i4", 2)
    return f"version {major}.{minor} in the header"


def length_hint(network: Network, size: int, header: Header | None = None) -> str:
    """Return what explains a file of `size` bytes that does not fit, as the end of a message.

    Converters write headers of every sort, so the values may begin elsewhere than the version
    says. "" if nothing explains the length; `header` is None if it is no Darknet header.
    """
    spare = size - 4 * network.float_count
    if spare == 0:
        return f": the length fits {network.name}.cfg without any header: insert one of 20 bytes"
    if header is None:
        return ""
    version = ".".join(map(str, header.version))
    hints = {
        12: "a header without `seen`: insert 8 zero bytes after the first 12",
        16: f"a header with a 32-bit `seen`, but in version {version} it has 64 bits: insert 4 "
        "zero bytes after the first 16",
        20: f"a header with a 64-bit `seen`, but in version {version} it has 32 bits: write "
        "version 0.2.0 into the first 12 bytes",
    }
    if spare != header.size and spare in hints:
        return f": the length fits {hints[spare]}"
    if spare - header.size == 4 * _floats_of_other_channels(network):
        return f": the length fits channels={4 - network.input.channels} in [net]"
    return ""


def _floats_of_other_channels(network: Network) -> int:
    """Return how many floats more the network has with 3 instead of 1 channels, or 1 instead of 3.

    0 if its first layer is no convolution of all channels.
    """
    first = network.layers[0]
    if not isinstance(first, Convolutional) or first.groups != 1:
        return 0
    filters, channels, rows, columns = first.weights_shape
    return filters * rows * columns * (4 - 2 * channels)
