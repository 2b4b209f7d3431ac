"""Read a Darknet .weights file and check it against the network of its .cfg.

Layout (Darknet `src/parser.c`, load_weights_upto): the header of `header.py`, then for every
convolution: biases; with batch normalisation also scales, rolling means and rolling variances; then
the filters. All float32, little-endian, without padding between layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from elastic_yolo.detector.darknet.fork import needs_fork
from elastic_yolo.detector.darknet.header import Header, length_hint, parse_header
from elastic_yolo.detector.darknet.layers import Convolutional, Network
from elastic_yolo.detector.darknet.values import check_values, deviations, read_floats
from elastic_yolo.detector.errors import WeightsError
from elastic_yolo.detector.files import file_size, open_regular, unreadable
from elastic_yolo.detector.foreign import HEAD_BYTES

Floats = NDArray[np.float32]


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
        factor: Floats = norm.scales / deviations(norm.variances, fork=fork)
        filters: Floats = self.filters * factor[:, None, None, None]
        biases: Floats = self.biases - norm.means * factor
        return filters, biases


@dataclass(frozen=True)
class Weights:
    """The whole file: version, `seen` (see the module), and the convolutions by layer index."""

    version: tuple[int, int, int]
    seen: int
    convolutions: dict[int, ConvolutionWeights]


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
    fork = needs_fork(network)
    with open_regular(path, WeightsError) as file:
        header = _check_size(file, path, network)
        try:
            file.seek(header.size)
            for layer in network.convolutions:
                check_values(file, layer, path, fork=fork)
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
        head = file.read(HEAD_BYTES)
        size = file_size(file)
    except OSError as error:
        raise unreadable(path, error, WeightsError) from error
    header = parse_header(head, size, path, network)
    body_bytes = size - header.size
    if body_bytes % 4:
        raise WeightsError(
            f"{path.name}: {body_bytes} bytes after the header, not a multiple of 4: "
            "the file is damaged, perhaps an interrupted copy, or not a Darknet .weights file"
        )
    _check_count(path, network, body_bytes // 4, length_hint(network, size, header))
    return header


def _check_count(path: Path, network: Network, found: int, hint: str) -> None:
    expected = 0
    ignored = _describe_ignored(network)
    reason = hint or f": the file is incomplete, or {network.name}.cfg belongs to other weights"
    for layer in network.convolutions:
        if found < expected + layer.float_count:
            raise WeightsError(
                f"{path.name}: too short for {network.name}.cfg: layer {layer.index} "
                f"[convolutional] (line {layer.line} of the .cfg) needs {layer.float_count:,} "
                f"floats, found {max(0, found - expected):,}: "
                f"{expected + layer.float_count - found:,} floats are missing there"
                f"{reason}{ignored}"
            )
        expected += layer.float_count
    if found > expected:
        last = network.convolutions[-1]
        raise WeightsError(
            f"{path.name}: too long for {network.name}.cfg: {found - expected:,} floats are left "
            f"after the last layer with weights, {last.index} [convolutional] "
            f"(line {last.line} of the .cfg): expected {expected:,}, found {found:,}{hint}{ignored}"
        )


def _describe_ignored(network: Network) -> str:
    """Return what the .cfg has in vain: a misspelt option is a likely cause of another size."""
    if not network.notes:
        return ""
    first, *more = network.notes
    rest = f" (and {len(more)} more)" if more else ""
    return f"; the .cfg has what Darknet ignores: {first}{rest}"


def _split(part: Floats, layer: Convolutional) -> ConvolutionWeights:
    n = layer.output.channels
    biases, rest = part[:n], part[n:]
    batch_norm = None
    if layer.batch_normalize:
        batch_norm = BatchNorm(rest[:n], rest[n : 2 * n], rest[2 * n : 3 * n])
        rest = rest[3 * n :]
    filters = rest.reshape(-1, n).T if layer.flipped else rest
    return ConvolutionWeights(filters.reshape(layer.weights_shape), biases, batch_norm)
