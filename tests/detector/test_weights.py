"""Reading .weights files, and the errors for those that do not fit."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from elastic_yolo.detector.darknet.cfg import parse_cfg
from elastic_yolo.detector.darknet.layers import Network
from elastic_yolo.detector.darknet.plan import plan_network
from elastic_yolo.detector.darknet.values import read_floats
from elastic_yolo.detector.darknet.weights import read_weights
from elastic_yolo.detector.errors import WeightsError
from tests.support.tiny import write_weights

CFG = """[net]
width=8
height=8
channels=3
[convolutional]
filters=2
size=1
batch_normalize=1
activation=leaky
{option}
[convolutional]
filters=6
size=1
activation=linear
[yolo]
classes=1
num=1
anchors=4,4
"""
FIRST, SECOND = 2 * 3 + 4 * 2, 6 * 2 + 6


def network(option: str = "") -> Network:
    return plan_network(parse_cfg(CFG.format(option=option), Path("x.cfg")))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.weights"


@pytest.mark.parametrize("version", [(0, 1, 0), (0, 2, 0), (0, 2, 5), (1, 0, 0), (1001, 2, 0)])
def test_both_header_widths_are_read(path: Path, version: tuple[int, int, int]) -> None:
    """`seen` is 64 bits wide from version 0.2 on, except where 1000 marks transposition."""
    write_weights(path, np.arange(FIRST + SECOND), version=version, seen=123_456)

    weights = read_weights(path, network())

    assert (weights.version, weights.seen) == (version, 123_456)
    assert weights.convolutions[0].biases.tolist() == [0, 1]


def test_values_lie_in_the_order_of_the_file(path: Path) -> None:
    write_weights(path, np.arange(FIRST + SECOND))

    first, second = (read_weights(path, network()).convolutions[i] for i in (0, 1))

    assert first.batch_norm is not None
    assert first.biases.tolist() == [0, 1]
    assert first.batch_norm.scales.tolist() == [2, 3]
    assert first.batch_norm.means.tolist() == [4, 5]
    assert first.batch_norm.variances.tolist() == [6, 7]
    assert first.filters[:, :, 0, 0].tolist() == [[8, 9, 10], [11, 12, 13]]
    assert second.batch_norm is None
    assert second.biases.tolist() == [14, 15, 16, 17, 18, 19]


def test_flipped_filters_are_transposed(path: Path) -> None:
    """flipped=1 stores (channels x size x size, filters)."""
    write_weights(path, np.arange(FIRST + SECOND))

    first = read_weights(path, network("flipped=1")).convolutions[0]

    assert first.filters[:, :, 0, 0].tolist() == [[8, 10, 12], [9, 11, 13]]


def test_folding_equals_normalising_afterwards(path: Path) -> None:
    random = np.random.default_rng(0)
    write_weights(path, np.abs(random.normal(size=FIRST + SECOND)))
    first = read_weights(path, network()).convolutions[0]
    norm = first.batch_norm
    assert norm is not None
    pixel = random.normal(size=3)

    filters, biases = first.folded()

    raw = first.filters[:, :, 0, 0] @ pixel
    expected = norm.scales * (raw - norm.means) / np.sqrt(norm.variances) + first.biases
    assert np.allclose(filters[:, :, 0, 0] @ pixel + biases, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (FIRST - 3, r"layer 0 \[convolutional\] \(line 5 .*\) needs 14 floats, found 11: 3 floats"),
        (FIRST + 1, r"layer 1 .*\(line 11 .*\) needs 18 floats, found 1: 17 floats are missing"),
        (FIRST + SECOND + 9, r"too long for x\.cfg: 9 floats are left after .*1 \[convolutional\]"),
    ],
)
def test_a_file_of_the_wrong_length_names_layer_and_floats(
    path: Path, count: int, message: str
) -> None:
    write_weights(path, np.zeros(count))

    with pytest.raises(WeightsError, match=message):
        read_weights(path, network())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 bytes are too few"),
        (b"<html>not found</html>", "not a Darknet .weights file"),
        (np.array([0, 2, 0, 0, 0], "<i4").tobytes() + b"abc", "not a multiple of 4"),
    ],
)
def test_a_file_of_another_kind_is_refused(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)

    with pytest.raises(WeightsError, match=message):
        read_weights(path, network())


def test_values_that_are_not_finite_are_reported_with_the_layer(path: Path) -> None:
    values = np.zeros(FIRST + SECOND)
    values[FIRST + 2] = np.nan
    write_weights(path, values)

    with pytest.raises(WeightsError, match=r"layer 1 .* not finite"):
        read_weights(path, network())


def test_a_missing_file_is_refused(path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be read: No such file"):
        read_weights(path, network())


def test_a_file_that_is_shortened_while_it_is_read_is_refused(path: Path) -> None:
    with pytest.raises(WeightsError, match=r"x\.weights: became shorter while it was read"):
        read_floats(io.BytesIO(bytes(11)), 3, path)


@pytest.mark.parametrize(
    ("place", "name"),
    [(0, "biases"), (2, "scales"), (4, "rolling means"), (6, "rolling variances"), (8, "filters")],
)
def test_values_that_are_not_finite_are_refused(path: Path, place: int, name: str) -> None:
    values = np.ones(FIRST + SECOND)
    values[place] = -np.inf
    write_weights(path, values)

    with pytest.raises(
        WeightsError, match=rf"layer 0 .*\(line 5 .*holds {name} that are not finite"
    ):
        read_weights(path, network())


def test_a_variance_of_zero_is_read(path: Path) -> None:
    """A filter that was never active in training has a variance of 0."""
    values = np.ones(FIRST + SECOND)
    values[6] = 0
    write_weights(path, values)

    filters, _ = read_weights(path, network()).convolutions[0].folded()

    assert np.isfinite(filters).all()


@pytest.mark.parametrize("order", ["<i4", ">i4"])
def test_a_big_endian_file_is_refused_with_the_reason(path: Path, order: str) -> None:
    path.write_bytes(np.array([0, 2, 0, 0, 0], order).tobytes())

    with pytest.raises(WeightsError, match="too short" if order == "<i4" else "is big-endian"):
        read_weights(path, network())
