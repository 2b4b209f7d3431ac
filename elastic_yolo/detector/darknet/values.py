"""Check that the values of a .weights file are usable, in bounded memory.

A file of the right length may still contain noise or be half overwritten. It is checked in parts,
so that a file of any length takes the same few megabytes until all of it is known to be valid.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from elastic_yolo.detector.darknet.layers import Convolutional
from elastic_yolo.detector.errors import WeightsError

Floats = NDArray[np.float32]

# src/blas.c, normalize_cpu: pjreddie divides by sqrt(v) + 1e-6, AlexeyAB by sqrt(v + 1e-5).
_ADDED_TO_ROOT = np.float32(1e-6)
_ADDED_TO_VARIANCE = np.float32(1e-5)
# Small enough to stay in the CPU's cache between reading and checking.
_PART_FLOATS = 2**16
_OVERFLOW = "overflows when its batch normalisation is folded in"


def deviations(variances: Floats, *, fork: bool) -> Floats:
    """Return what Darknet divides by, of rolling variances; with `fork` AlexeyAB's Darknet.

    NaN for a variance that the formula takes no root of.
    """
    with np.errstate(invalid="ignore"):
        found: Floats = (
            np.sqrt(variances + _ADDED_TO_VARIANCE) if fork else np.sqrt(variances) + _ADDED_TO_ROOT
        )
    return found


def read_floats(file: BinaryIO, count: int, path: Path) -> Floats:
    """Return the next values of a file, (count,) float32; raises WeightsError at its end."""
    data = file.read(4 * count)
    if len(data) != 4 * count:
        raise WeightsError(f"{path.name}: became shorter while it was read")
    return np.frombuffer(data, "<f4")


def check_values(file: BinaryIO, layer: Convolutional, path: Path, *, fork: bool) -> None:
    """Read and check the values of one layer; raises WeightsError with the layer.

    Values must be finite, also after batch normalisation is folded into them, with `fork` as
    AlexeyAB's Darknet does. So a variance may be negative if that formula gives a number for it:
    training with the fork leaves some that are a rounding error below 0.
    """
    filters = layer.output.channels
    biases = read_floats(file, filters, path)
    _check_finite(biases, "biases", layer, path)
    factor = np.float32(1)
    if layer.batch_normalize:
        factor = _check_batch_norm(file, biases, layer, path, fork=fork)
    largest = np.float32(0)
    for part in _parts(file, math.prod(layer.weights_shape), path):
        largest = max(largest, _check_finite(part, "filters", layer, path))
    with np.errstate(over="ignore"):
        if not np.isfinite(largest * factor):
            raise _error(path, layer, _OVERFLOW)


def _check_batch_norm(
    file: BinaryIO, biases: Floats, layer: Convolutional, path: Path, *, fork: bool
) -> np.float32:
    """Check the batch normalisation; returns the largest factor that it applies to a filter."""
    scales, means, variances = (read_floats(file, biases.size, path) for _ in range(3))
    _check_finite(scales, "scales", layer, path)
    _check_finite(means, "rolling means", layer, path)
    _check_finite(variances, "rolling variances", layer, path)
    divisors = deviations(variances, fork=fork)
    # NaN, which is no root, is not above 0 either.
    if not (divisors > 0).all():
        # Everything that the layer outputs would be NaN.
        formula = "sqrt(v + 1e-5)" if fork else "sqrt(v) + 1e-6"
        what = f"holds a negative rolling variance, {variances.min():g}"
        raise _error(path, layer, f"{what}: {formula} of it is no divisor")
    with np.errstate(over="ignore", invalid="ignore"):
        factors = scales / divisors
        if not np.isfinite(biases - means * factors).all():
            raise _error(path, layer, _OVERFLOW)
    return np.float32(np.abs(factors).max())


def _parts(file: BinaryIO, count: int, path: Path) -> Iterator[Floats]:
    for start in range(0, count, _PART_FLOATS):
        yield read_floats(file, min(_PART_FLOATS, count - start), path)


def _check_finite(values: Floats, what: str, layer: Convolutional, path: Path) -> np.float32:
    """Return the largest absolute value; raises WeightsError if any value is not finite."""
    # Both are NaN if any value is, and neither allocates memory.
    lowest, highest = values.min(), values.max()
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise _error(path, layer, f"holds {what} that are not finite")
    return max(-lowest, highest)


def _error(path: Path, layer: Convolutional, what: str) -> WeightsError:
    return WeightsError(
        f"{path.name}: layer {layer.index} [convolutional] (line {layer.line} of the .cfg) {what}"
    )
