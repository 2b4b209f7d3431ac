"""Round the filters of a convolution to integers, with feedback of the rounding errors.

Rounding each weight to the nearest step is not best for the layer's output: neighbouring pixels and
channels are correlated, so that the error of one weight can compensate that of another. The method
is LDLQ (Chee et al., "QuIP: 2-Bit Quantization of Large Language Models With Guarantees", 2023,
section 3), which gives the result of GPTQ (Frantar et al., "GPTQ: Accurate Post-Training
Quantization for Generative Pre-trained Transformers", 2023) without the inverse of a matrix.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from elastic_yolo.detector.boxes import Floats

Int8 = NDArray[np.int8]

# Seven bits. CPUs without VNNI add pairs of products in 16 bits: 255 * 64 * 2 fits, 255 * 127 * 2
# does not.
MOST_WEIGHT = 64
_BLOCK = 128
# Added to the diagonal, as a fraction of its mean: less than a hundred pictures do not determine
# thousands of correlations.
_DAMPING = 0.01


def weight_scales(filters: Floats) -> Floats:
    """Return the step of each filter's weights, (filters,), from (filters, weights)."""
    largest = np.abs(filters).max(axis=1)
    # A filter of zeros needs any step but zero.
    scales: Floats = np.where(largest > 0, largest / MOST_WEIGHT, 1).astype(np.float32)
    return scales


def round_with_feedback(filters: Floats, scales: Floats, products: Floats) -> Int8:
    """Return filters as multiples of each filter's step, with the least error of the output.

    `filters` is (filters, weights); `products` is X^T X, (weights, weights), with the layer's input
    values in the rows of X: one row for each measured position.
    """
    diagonal = np.diag(products)
    # Weights with large inputs are rounded first, because all others can compensate their errors.
    order = np.argsort(-diagonal, kind="stable")
    feedback = _feedback(products[np.ix_(order, order)], float(diagonal.mean()))
    # One row for each weight: rows are contiguous in memory.
    wanted = np.ascontiguousarray(filters[:, order].T)
    steps = np.empty(wanted.shape, np.int8)
    errors = np.zeros(wanted.shape, np.float32)
    for first in range(0, len(wanted), _BLOCK):
        end = min(first + _BLOCK, len(wanted))
        targets = wanted[first:end] + feedback[:first, first:end].T @ errors[:first]
        for row in range(first, end):
            target = targets[row - first] + feedback[first:row, row] @ errors[first:row]
            steps[row] = np.rint(target / scales).clip(-MOST_WEIGHT, MOST_WEIGHT)
            errors[row] = wanted[row] - steps[row] * scales
    result = np.empty(filters.shape, np.int8)
    result[:, order] = steps.T
    return result


def _feedback(products: Floats, mean: float) -> Floats:
    """Return U - I of products = U D U^T, U upper triangular with a diagonal of ones."""
    damped = products.copy()
    damped[np.diag_indices(len(damped))] += _DAMPING * mean + 1e-12
    # numpy's factor is lower triangular; that of the reversed matrix, reversed, is upper.
    upper = np.linalg.cholesky(damped[::-1, ::-1])[::-1, ::-1]
    unit: Floats = (upper / np.diag(upper)).astype(np.float32)
    unit[np.diag_indices(len(unit))] = 0
    return unit
