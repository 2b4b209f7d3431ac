"""Read a Darknet .weights file and check it against the network of its .cfg.

Layout (Darknet `src/parser.c`, load_weights_upto): int32 major, minor, revision; then `seen`, the
number of pictures seen in training, 64 bits from version 0.2 on and 32 bits before. Then for every
convolution: biases; with batch normalisation also scales, rolling means and rolling variances; then
the filters. All float32, little-endian, without padding between layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from elastic_yolo.detector.darknet.layers import Convolutional, Network
from elastic_yolo.detector.darknet.values import ADDED_TO_ROOT, check_values, read_floats
from elastic_yolo.detector.errors import WeightsError
from elastic_yolo.detector.files import file_size, open_regular, unreadable

Floats = NDArray[np.float32]

# src/blas.c, normalize_cpu: pjreddie divides by sqrt(v) + 1e-6, AlexeyAB by sqrt(v + 1e-5).
_ADDED_TO_VARIANCE = np.float32(1e-5)


@dataclass(frozen=True)
class BatchNorm:
    """The statistics of one batch normalisation, each (filters,) float32."""

    scales: Floats
    means: Floats
    variances: Floats


@dataclass(frozen=True)
class ConvolutionWeights:
    """One convolution as stored: filters (n, c / groups, size, size), biases (n,)."""

    filters: Floats
    biases: Floats
    batch_norm: BatchNorm | None

    def folded(self, *, fork: bool = False) -> tuple[Floats, Floats]:
        """Return filters and biases with batch normalisation folded into them.

        Uses the formula of pjreddie's Darknet, or with `fork` that of AlexeyAB's.
        """
        if self.batch_norm is None:
            return self.filters, self.biases
        norm = self.batch_norm
        deviations: Floats = (
            np.sqrt(norm.variances + _ADDED_TO_VARIANCE)
            if fork
            else np.sqrt(norm.variances) + ADDED_TO_ROOT
        )
        factor: Floats = norm.scales / deviations
        filters: Floats = self.filters * factor[:, None, None, None]
        biases: Floats = self.biases - norm.means * factor
        return filters, biases


@dataclass(frozen=True)
class Weights:
    """The whole file: version, `seen` (see the module), and the convolutions by layer index."""

    version: tuple[int, int, int]
    seen: int
    convolutions: dict[int, ConvolutionWeights]


@dataclass(frozen=True)
class Header:
    """The header of a .weights file; `size` is its length in bytes."""

    version: tuple[int, int, int]
    seen: int
    size: int


def check_weights(path: Path, network: Network) -> Header:
    """Check header and length of the file against `network`, without reading the values.

    Raises WeightsError with the layer and the number of floats that are missing or left over.
    """
    with open_regular(path, WeightsError) as file:
        return _check_size(file, path, network)


def read_weights(path: Path, network: Network) -> Weights:
    """Read the weights of `network`; raises WeightsError as `check_weights` and `check_values` do.

    The file is not memory-mapped: a process that truncates a mapped file would kill this one.
    All values are checked before any are kept, so that an invalid file needs little memory.
    """
    with open_regular(path, WeightsError) as file:
        header = _check_size(file, path, network)
        try:
            file.seek(header.size)
            for layer in network.convolutions:
                check_values(file, layer, path)
            file.seek(header.size)
            convolutions = {
                layer.index: _split(read_floats(file, layer.float_count, path), layer)
                for layer in network.convolutions
            }
        except OSError as error:
            raise unreadable(path, error, WeightsError) from error
    return Weights(header.version, header.seen, convolutions)


def _check_size(file: BinaryIO, path: Path, network: Network) -> Header:
    try:
        header = _parse_header(file.read(20), path)
        body_bytes = file_size(file) - header.size
    except OSError as error:
        raise unreadable(path, error, WeightsError) from error
    if body_bytes % 4:
        raise WeightsError(
            f"{path.name}: {body_bytes} bytes after the header, not a multiple of 4: "
            "the file is damaged or not a Darknet .weights file"
        )
    _check_count(path, network, body_bytes // 4)
    return header


def _parse_header(raw: bytes, path: Path) -> Header:
    if len(raw) < 16:
        raise WeightsError(f"{path.name}: {len(raw)} bytes are too few for a Darknet header")
    major, minor, revision = (int(n) for n in np.frombuffer(raw, "<i4", 3))
    if not _is_version(major, minor):
        raise WeightsError(f"{path.name}: {_what_instead(raw)}: not a Darknet .weights file")
    wide_seen = major * 10 + minor >= 2 and major < 1000 and minor < 1000
    if wide_seen and len(raw) < 20:
        raise WeightsError(f"{path.name}: {len(raw)} bytes are too few for a Darknet header")
    seen = int(np.frombuffer(raw, "<u8" if wide_seen else "<u4", 1, offset=12)[0])
    return Header((major, minor, revision), seen, 20 if wide_seen else 16)


def _is_version(major: int, minor: int) -> bool:
    return 0 <= major < 10_000 and 0 <= minor < 10_000


def _what_instead(raw: bytes) -> str:
    """Describe a file with an invalid header by its first bytes."""
    text = raw.decode("ascii", errors="replace")
    if text.isascii() and text.replace("\n", "").replace("\r", "").isprintable():
        # An HTML error page, a Git LFS pointer, or the .cfg.
        return f"text that begins with {text!r}"
    if _is_version(*(int(n) for n in np.frombuffer(raw, ">i4", 2))):
        return "the byte order is big-endian, where Darknet writes little-endian"
    major, minor = np.frombuffer(raw, "<i4", 2)
    return f"version {major}.{minor} in the header"


def _check_count(path: Path, network: Network, found: int) -> None:
    expected = 0
    for layer in network.convolutions:
        if found < expected + layer.float_count:
            raise WeightsError(
                f"{path.name}: too short for {network.name}.cfg: layer {layer.index} "
                f"[convolutional] (line {layer.line} of the .cfg) needs {layer.float_count:,} "
                f"floats, found {found - expected:,}: "
                f"{expected + layer.float_count - found:,} floats are missing there"
            )
        expected += layer.float_count
    if found > expected:
        last = network.convolutions[-1]
        raise WeightsError(
            f"{path.name}: too long for {network.name}.cfg: {found - expected:,} floats are left "
            f"after the last layer with weights, {last.index} [convolutional] "
            f"(line {last.line} of the .cfg): expected {expected:,}, found {found:,}"
        )


def _split(part: Floats, layer: Convolutional) -> ConvolutionWeights:
    n = layer.output.channels
    biases, rest = part[:n], part[n:]
    batch_norm = None
    if layer.batch_normalize:
        batch_norm = BatchNorm(rest[:n], rest[n : 2 * n], rest[2 * n : 3 * n])
        rest = rest[3 * n :]
    filters = rest.reshape(-1, n).T if layer.flipped else rest
    return ConvolutionWeights(filters.reshape(layer.weights_shape), biases, batch_norm)
