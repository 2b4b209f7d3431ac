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
        (b"Not Found", "9 bytes are too few"),
        (b"The file was not found", "text that begins with 'The file was not fou': not a Darknet"),
        (b"<html>not found</html>", "an HTML page, perhaps a login page"),
        (b"\r\n<!DOCTYPE HTML><title>Sign in", "an HTML page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied", "XML, perhaps a server's error"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "run git lfs pull"),
        (b"\x1f\x8b\x08\0" + bytes(99), "compressed with gzip: unpack it with gunzip"),
        (b"PK\x03\x04" + bytes(99), "a ZIP archive, as PyTorch's .pt files are too"),
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "an HDF5 file, as Keras writes"),
        (b"x.weights".ljust(257, b"\0") + b"ustar" + bytes(250), "a tar archive: unpack it"),
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


VALUES = np.arange(FIRST + SECOND, dtype="<f4").tobytes()


@pytest.mark.parametrize(
    ("header", "hint"),
    [
        ([0, 2, 5, 77], r"a header with a 32-bit `seen`, but in version 0\.2\.5 it has 64 bits"),
        ([1, 0, 0, 77], r"a header with a 32-bit `seen`, but in version 1\.0\.0 it has 64 bits"),
        ([0, 1, 0, 77, 0], r"a header with a 64-bit `seen`, but in version 0\.1\.0 it has 32 bits"),
        ([0, 0, 0, 77, 0], r"a header with a 64-bit `seen`, but in version 0\.0\.0 it has 32 bits"),
        ([0, 2, 5], "a header without `seen`: insert 8 zero bytes after the first 12"),
    ],
)
def test_a_header_of_another_length_is_hinted_at(path: Path, header: list[int], hint: str) -> None:
    path.write_bytes(np.array(header, "<i4").tobytes() + VALUES)

    with pytest.raises(WeightsError, match=f"the length fits {hint}"):
        read_weights(path, network())


def test_the_hint_about_a_short_header_mends_the_file(path: Path) -> None:
    path.write_bytes(np.array([0, 2, 5, 77], "<i4").tobytes() + bytes(4) + VALUES)

    weights = read_weights(path, network())

    assert weights.seen == 77
    assert weights.convolutions[0].biases.tolist() == [0, 1]


def test_values_without_a_header_are_hinted_at(path: Path) -> None:
    path.write_bytes(np.full(FIRST + SECOND, 0.3, "<f4").tobytes())

    with pytest.raises(WeightsError, match=r"the length fits x\.cfg without any header"):
        read_weights(path, network())


@pytest.mark.parametrize("missing", [-2, -1, 1, 2, 5])
def test_a_file_that_only_misses_floats_gets_no_hint(path: Path, missing: int) -> None:
    write_weights(path, np.zeros(FIRST + SECOND - missing))

    with pytest.raises(WeightsError) as refused:
        read_weights(path, network())

    hinted = {1: "32-bit", 2: "without `seen`", 5: "without any header"}.get(missing)
    assert ("the length fits" in str(refused.value)) == (hinted is not None)
    assert hinted is None or hinted in str(refused.value)


@pytest.mark.parametrize(("channels", "other"), [(1, 3), (3, 1)])
def test_weights_for_the_other_number_of_channels_are_hinted_at(
    path: Path, channels: int, other: int
) -> None:
    text = CFG.format(option="").replace("channels=3", "channels={}")
    fitting, wanted = (
        plan_network(parse_cfg(text.format(n), Path("x.cfg"))) for n in (other, channels)
    )
    write_weights(path, np.ones(fitting.float_count))

    with pytest.raises(WeightsError, match=rf"the length fits channels={other} in \[net\]"):
        read_weights(path, wanted)


def with_variance(path: Path, variance: float) -> Path:
    values = np.ones(FIRST + SECOND)
    values[6] = variance
    write_weights(path, values)
    return path


FORK = "groups=1\n[empty]"


@pytest.mark.parametrize("variance", [-7e-44, -1e-45, -0.0, 0.0, -1e-6, -9.9e-6])
def test_the_fork_takes_the_root_of_a_variance_and_a_little_more(
    path: Path, variance: float
) -> None:
    """AlexeyAB's normalize_cpu divides by sqrt(v + 1e-5)."""
    weights = read_weights(with_variance(path, variance), network(FORK))

    filters, biases = weights.convolutions[0].folded(fork=True)

    factor = 1 / np.sqrt(np.float32(variance) + np.float32(1e-5))
    np.testing.assert_allclose(filters[0].ravel(), [factor] * 3, rtol=1e-6)
    np.testing.assert_allclose(biases[0], 1 - factor, rtol=1e-6)


@pytest.mark.parametrize("variance", [-1e-5, -1.01e-5, -1.0, -3e38, np.nan])
def test_a_variance_without_a_root_in_the_fork_is_refused(path: Path, variance: float) -> None:
    with pytest.raises(WeightsError, match=r"layer 0 .*rolling variance"):
        read_weights(with_variance(path, variance), network(FORK))


@pytest.mark.parametrize("variance", [-7e-44, -1e-45, -1e-6, -1.0])
def test_a_negative_variance_has_no_root_in_pjreddies_darknet(path: Path, variance: float) -> None:
    """It divides by sqrt(v) + 1e-6: everything behind would be NaN."""
    with pytest.raises(WeightsError, match=r"negative rolling variance, -.*: sqrt\(v\) \+ 1e-6"):
        read_weights(with_variance(path, variance), network())


@pytest.mark.parametrize("variance", [-0.0, 1e-45, 7e-44])
def test_a_variance_of_nearly_0_is_read(path: Path, variance: float) -> None:
    assert read_weights(with_variance(path, variance), network()).version == (0, 2, 0)
