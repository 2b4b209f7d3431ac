"""Histograms of tensors, and the ranges that they give."""

from __future__ import annotations

import numpy as np
import pytest

from elastic_yolo.detector.boxes import Floats
from elastic_yolo.detector.int8.histogram import Histogram, Range, scale_of


def histogram_of(*parts: Floats) -> Histogram:
    result = Histogram()
    for values in parts:
        result.add(values, float(values.min()), float(values.max()))
    return result


def cubed_error(values: Floats, ends: Range) -> float:
    scale, zero = (float(one) for one in scale_of(ends))
    steps = np.clip(np.rint(values / scale) + zero, 0, 255) - zero
    return float((np.abs(values - steps * scale) ** 3).sum())


def test_evenly_distributed_values_keep_their_whole_range() -> None:
    values = np.linspace(-1, 3, 100_000, dtype=np.float32)

    assert histogram_of(values).best_range() == pytest.approx((-1, 3))


def test_the_range_has_nearly_the_least_error_of_all() -> None:
    """A long tail, as behind leaky ReLU; compared with a search on the values themselves."""
    random = np.random.default_rng(1)
    values = random.laplace(0, 1, 200_000).astype(np.float32)
    values[values < 0] *= 0.1

    low, high = histogram_of(values).best_range()

    tried = [
        cubed_error(values, (float(values.min()) * lower, float(values.max()) * upper))
        for lower in np.linspace(0.2, 1, 30)
        for upper in np.linspace(0.2, 1, 30)
    ]
    assert high < values.max()
    assert cubed_error(values, (low, high)) < 1.05 * min(tried)


def test_rare_large_values_are_clipped_if_all_others_gain_by_it() -> None:
    """With squares the one value would be cut to a fifth, with fourth powers not at all."""
    values = np.random.default_rng(4).normal(0, 1, 3_000_000).astype(np.float32)
    values[0] = 12

    low, high = histogram_of(values).best_range()

    assert 0.5 * 12 < high < 0.95 * 12
    assert cubed_error(values, (low, high)) < 0.8 * cubed_error(values, (float(values.min()), 12.0))


def test_later_pictures_may_exceed_the_first() -> None:
    random = np.random.default_rng(2)
    small, large = (random.normal(0, size, 5000).astype(np.float32) for size in (0.1, 40))

    one_by_one = histogram_of(small, large).best_range()

    assert one_by_one == histogram_of(np.concatenate([small, large])).best_range()
    assert one_by_one[1] > 20


def test_damped_negative_values_may_be_clipped() -> None:
    values = np.random.default_rng(3).normal(0, 1, 100_000).astype(np.float32)
    histogram = histogram_of(values)

    low, high = histogram.best_range()
    damped_low, damped_high = histogram.best_range(negative_weight=0.1)

    assert damped_low > 0.8 * low
    assert damped_high - damped_low < 0.95 * (high - low)


@pytest.mark.parametrize("ends", [(-0.37, 5.1), (0.0, 1.0), (-3.0, 0.0), (0.0, 0.0)])
def test_zero_is_exact_in_every_range(ends: Range) -> None:
    """Padding is zero."""
    scale, zero = scale_of(ends)

    assert scale > 0
    assert (0 - float(zero)) * scale <= ends[0] / 1.01 + scale
    assert (255 - float(zero)) * scale >= ends[1] - scale


def test_a_tensor_of_zeros_has_a_range() -> None:
    assert histogram_of(np.zeros(10, np.float32)).best_range() == (0, 0)
