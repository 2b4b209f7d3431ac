"""Write .weights files with random values that keep a network's activations of order one.

Real weights cannot be shipped. Plain random values would not do: over 75 layers the activations
would vanish or explode, and any two implementations would agree on zeros or on infinities. So the
mean square of every layer's output is followed through the network, and each convolution is scaled
by what enters it (He et al., "Delving Deep into Rectifiers", 2015).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from detector.darknet.cfg import read_cfg
from detector.darknet.layers import (
    Convolutional,
    Head,
    Layer,
    Network,
    Pool,
    Route,
    Shortcut,
)
from detector.darknet.plan import plan_network

# Asked of the convolution before a head; a little more than half of it arrives.
_HEAD_SPREAD = 1.6
# A branch that is added to its shortcut is kept small, or 23 of them would add up.
_BRANCH_GAIN = 0.5
# Batch normalisation with the random statistics below adds this to the mean square that it should
# leave: nothing for one layer, a factor of six for 75.
_BATCH_NORM = 1.0235


@dataclass(frozen=True)
class _Moments:
    """The mean and the mean square of a layer's output over all its values."""

    mean: float
    square: float

    def __add__(self, other: _Moments) -> _Moments:
        """Return the moments of the sum of two independent outputs."""
        square = self.square + other.square + 2 * self.mean * other.mean
        return _Moments(self.mean + other.mean, square)

    def __mul__(self, factor: float) -> _Moments:
        """Return the moments of an output whose mean square is this many times as large."""
        return _Moments(self.mean * factor**0.5, self.square * factor)


# Pictures whose pixels run from 0 to 1 have about these moments.
_PICTURE = _Moments(0.45, 0.28)
# After an activation, for a normal distribution of variance 1 before it.
_ACTIVATION = {
    "linear": _Moments(0.0, 1.0),
    "leaky": _Moments(0.359, 0.505),
    "relu": _Moments(0.399, 0.5),
    "relu6": _Moments(0.399, 0.5),
    "elu": _Moments(0.161, 0.645),
    "selu": _Moments(0.0, 1.0),
    "tanh": _Moments(0.0, 0.394),
    "logistic": _Moments(0.5, 0.293),
    "mish": _Moments(0.24, 0.452),
    "hard_mish": _Moments(0.2, 0.4),
    "swish": _Moments(0.206, 0.356),
}


@dataclass(frozen=True)
class _Part:
    """What a convolution is followed by, and what enters it."""

    layer: Convolutional
    follower: Layer | None
    entering: _Moments

    @property
    def gain(self) -> float:
        """The standard deviation wanted before the activation."""
        match self.follower:
            case Head():
                return _HEAD_SPREAD
            case Shortcut():
                return _BRANCH_GAIN
            case _:
                return 1.0


def write_random_weights(cfg: Path, target: Path, seed: int) -> None:
    """Write weights for the network of `cfg` to `target`; the same for the same seed."""
    network = plan_network(read_cfg(cfg))
    random = np.random.default_rng(seed)
    with target.open("wb") as file:
        _write(file, np.array([0, 2, 5]), "<i4")
        _write(file, np.array([0]), "<u8")
        outputs: list[_Moments] = []
        for layer in network.layers:
            entering = outputs[-1] if outputs else _PICTURE
            if isinstance(layer, Convolutional):
                part = _Part(layer, _follower(network, layer), entering)
                _write_convolution(file, part, random)
            outputs.append(_leaving(network, layer, entering, outputs))


def _write_convolution(file: BinaryIO, part: _Part, random: np.random.Generator) -> None:
    """Write biases, batch normalisation and filters, in the file's order."""
    shape = part.layer.weights_shape
    count, fan_in = shape[0], float(np.prod(shape[1:]))
    # Unit filters over fan_in inputs of this mean square give outputs of the same mean square.
    filters = random.standard_normal(shape, np.float32) / np.float32(np.sqrt(fan_in))
    spread = part.entering.square**0.5
    _write(file, random.normal(0, 0.1 * part.gain, count))
    if part.layer.batch_normalize:
        _write(file, random.uniform(0.8, 1.2, count) * part.gain)
        _write(file, random.normal(0, 0.1 * spread, count))
        _write(file, random.uniform(0.7, 1.4, count) * part.entering.square)
    else:
        filters *= np.float32(part.gain / spread)
    _write(file, filters)


def _leaving(
    network: Network, layer: Layer, entering: _Moments, outputs: list[_Moments]
) -> _Moments:
    """Return the moments of a layer's output."""
    match layer:
        case Convolutional():
            gain = _Part(layer, _follower(network, layer), entering).gain
            norm = _BATCH_NORM if layer.batch_normalize else 1.0
            return _ACTIVATION[layer.activation] * (gain**2 * norm)
        case Pool():
            # A maximum is larger than what it is chosen from; a fit to these networks' windows.
            return entering * (1 + 0.5 * float(np.log2(layer.size)))
        case Route():
            channels = [network.layers[i].output.channels for i in layer.sources]
            sources = [(outputs[i].mean, outputs[i].square) for i in layer.sources]
            return _Moments(*np.average(sources, axis=0, weights=channels).tolist())
        case Shortcut():
            # Every shortcut in these networks is linear.
            return sum((outputs[i] for i in layer.sources), entering)
        case _:
            return entering


def _follower(network: Network, layer: Layer) -> Layer | None:
    following = layer.index + 1
    return network.layers[following] if following < len(network.layers) else None


def _write(file: BinaryIO, values: NDArray[np.generic], kind: str = "<f4") -> None:
    file.write(np.ascontiguousarray(values).astype(kind).tobytes())
