"""Rounding of filters to integers."""

from __future__ import annotations

import numpy as np
import pytest

from elastic_yolo.detector.boxes import Floats
from elastic_yolo.detector.int8.rounding import MOST_WEIGHT, round_with_feedback, weight_scales


def correlated(rows: int, columns: int, seed: int = 0) -> Floats:
    """Return inputs whose columns depend on a few common factors, like neighbouring pixels."""
    random = np.random.default_rng(seed)
    factors = random.normal(0, 1, (rows, 4)) @ random.normal(0, 1, (4, columns))
    return (factors + 0.1 * random.normal(0, 1, (rows, columns))).astype(np.float32)


def gptq(filters: Floats, scales: Floats, products: Floats) -> Floats:
    """Round as Frantar et al. (2023), section 3, describe it: one column after the other."""
    size = len(products)
    damped = products.astype(np.float64) + 0.01 * np.diag(products).mean() * np.eye(size)
    order = np.argsort(-np.diag(products), kind="stable")
    inverse = np.linalg.inv(damped[np.ix_(order, order)])
    left = filters[:, order].astype(np.float64)
    steps = np.empty(filters.shape)
    for column in range(size):
        rounded = np.rint(left[:, column] / scales).clip(-MOST_WEIGHT, MOST_WEIGHT)
        steps[:, order[column]] = rounded
        error = (left[:, column] - rounded * scales) / inverse[column, column]
        left -= np.outer(error, inverse[column])
        inverse -= np.outer(inverse[column], inverse[column]) / inverse[column, column]
    return steps.astype(np.float32)


def test_weights_fit_seven_bits_and_sums_of_pairs_16_bits() -> None:
    filters = np.random.default_rng(0).normal(0, 5, (8, 300)).astype(np.float32)
    x = correlated(1000, 300)

    steps = round_with_feedback(filters, weight_scales(filters), x.T @ x)

    assert np.abs(steps).max() == MOST_WEIGHT
    assert 2 * 255 * MOST_WEIGHT < 2**15


def test_uncorrelated_inputs_round_to_the_nearest_step() -> None:
    filters = np.random.default_rng(1).normal(0, 1, (5, 200)).astype(np.float32)
    scales = weight_scales(filters)

    steps = round_with_feedback(filters, scales, np.eye(200, dtype=np.float32))

    assert np.array_equal(steps, np.rint(filters / scales[:, None]))


@pytest.mark.parametrize("columns", [27, 200])
def test_feedback_gives_the_result_of_gptq(columns: int) -> None:
    """200 columns are more than one block."""
    filters = np.random.default_rng(2).normal(0, 1, (16, columns)).astype(np.float32)
    scales = weight_scales(filters)
    x = correlated(2000, columns)

    steps = round_with_feedback(filters, scales, x.T @ x)

    # A value halfway between two steps may be rounded either way.
    assert (steps == gptq(filters, scales, x.T @ x)).mean() > 0.995


def test_feedback_halves_the_error_of_the_output() -> None:
    filters = np.random.default_rng(3).normal(0, 1, (16, 144)).astype(np.float32)
    scales = weight_scales(filters)
    x, other = correlated(4000, 144), correlated(4000, 144)[:1000]

    steps = round_with_feedback(filters, scales, x.T @ x)

    nearest = np.rint(filters / scales[:, None])
    error, plain = (
        float(np.square(other @ (filters - one * scales[:, None]).T).mean())
        for one in (steps, nearest)
    )
    assert error < 0.5 * plain


def test_a_filter_of_zeros_and_dead_inputs_are_no_obstacle() -> None:
    filters = np.zeros((2, 9), np.float32)
    filters[1] = 1

    steps = round_with_feedback(filters, weight_scales(filters), np.zeros((9, 9), np.float32))

    assert steps.tolist() == [[0] * 9, [MOST_WEIGHT] * 9]
