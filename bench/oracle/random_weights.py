"""Writes .weights files with random filters whose activations stay in a useful range.

Real weights cannot be shipped. Plain random values would not do: over a hundred layers the
activations would vanish or explode, and any two implementations would agree on zeros or on
infinities. So the network is run once on a picture of noise, every convolution is normalised by
what it puts out there, and what was found is written as the statistics of its batch normalisation:
as training would leave them.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.oracle.statistics import Drawn, Statistics, measure
from elastic_yolo.detector.boxes import Floats, Pixels
from elastic_yolo.detector.darknet.cfg import read_cfg
from elastic_yolo.detector.darknet.layers import Convolutional, Head, Layer, Network, Shortcut
from elastic_yolo.detector.darknet.plan import plan_network

# The documented results of networks with random weights hold for this seed.
SEED = 20180914
# A branch that is added to its shortcut is kept small, or 23 of them would add up.
_BRANCH_SPREAD = 0.5
# On another picture a layer's outputs are slightly larger or smaller than on the noise. Around 0,
# mish and swish amplify changes; around 1, every activation dampens them, so that differences fade
# instead of growing from layer to layer.
_BIASES = (0.0, 2.0)
_HEAD_BIASES = (-0.2, 0.2)


def write_random_weights(cfg: Path, target: Path, seed: int) -> None:
    """Write weights for the network of `cfg` to `target`; the same for the same seed."""
    network = plan_network(read_cfg(cfg))
    random = np.random.default_rng(seed)
    picture = _noise(network, random)
    drawn = {layer.index: _draw(network, layer, random) for layer in network.convolutions}
    statistics = measure(network, drawn, picture)
    with target.open("wb") as file:
        _write(file, np.array([0, 2, 5]), "<i4")
        _write(file, np.array([0]), "<u8")
        for layer in network.convolutions:
            _write_convolution(file, layer, drawn[layer.index], statistics[layer.index])


def _draw(network: Network, layer: Convolutional, random: np.random.Generator) -> Drawn:
    shape = layer.weights_shape
    count, fan_in = shape[0], float(np.prod(shape[1:]))
    follower = _follower(network, layer)
    spread = _BRANCH_SPREAD if isinstance(follower, Shortcut) else 1.0
    biases = _HEAD_BIASES if isinstance(follower, Head) else _BIASES
    return Drawn(
        random.standard_normal(shape, np.float32) / np.float32(fan_in**0.5),
        (random.uniform(0.8, 1.2, count) * spread).astype(np.float32),
        (random.uniform(*biases, count) * spread).astype(np.float32),
    )


def _follower(network: Network, layer: Convolutional) -> Layer | None:
    following = layer.index + 1
    return network.layers[following] if following < len(network.layers) else None


def _noise(network: Network, random: np.random.Generator) -> Pixels:
    """Return (height, width, 3) pixels with blobs of all sizes, as in a photograph."""
    size = (network.input.width, network.input.height)
    total = np.zeros((size[1], size[0], 3), np.float32)
    for cells in (2, 4, 8, 16, 32, 64):
        # The colours of a photograph rise and fall together.
        grey = 2 * random.standard_normal((cells, cells, 1), np.float32)
        octave = grey + random.standard_normal((cells, cells, 3), np.float32)
        total += cv2.resize(octave, size, interpolation=cv2.INTER_CUBIC)
    pixels: Pixels = np.clip(115 + 60 * total / total.std(), 0, 255).astype(np.uint8)
    return pixels


def _write_convolution(
    file: BinaryIO, layer: Convolutional, drawn: Drawn, statistics: Statistics
) -> None:
    """Write biases, batch normalization and filters, in the file's order."""
    filters: Floats = drawn.filters
    biases: Floats = drawn.biases
    if not layer.batch_normalize:
        deviations: Floats = np.sqrt(statistics.variances)
        factors = drawn.scales / deviations
        filters = filters * factors[:, None, None, None]
        biases = biases - statistics.means * factors
    _write(file, biases)
    if layer.batch_normalize:
        for values in (drawn.scales, statistics.means, statistics.variances):
            _write(file, values)
    _write(file, filters.reshape(len(filters), -1).T if layer.flipped else filters)


def _write(file: BinaryIO, values: NDArray[np.generic], kind: str = "<f4") -> None:
    file.write(np.ascontiguousarray(values).astype(kind, copy=False).tobytes())
