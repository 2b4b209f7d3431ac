"""Layers of AlexeyAB's fork, compared with its formulas: Debian's library lacks them.

Every network here is convolutions of 1x1, which numpy computes, and the layer in question behind
them. Its output enters the head, and so comes out raw.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from elastic_yolo.detector.darknet.cfg import read_cfg
from elastic_yolo.detector.darknet.plan import plan_network
from elastic_yolo.detector.darknet.weights import Weights, read_weights
from elastic_yolo.detector.engines.openvino import OpenVinoEngine
from elastic_yolo.detector.graph import build_graph
from tests.support.tiny import write_weights

HEIGHT, WIDTH = 8, 12


def conv(filters: int, activation: str = "linear") -> str:
    return f"[convolutional]\nfilters={filters}\nsize=1\nactivation={activation}\n"


@dataclass
class Ran:
    """A picture (3, height, width) from 0 to 1, the weights, and the head's input."""

    picture: np.ndarray
    weights: Weights
    output: np.ndarray

    def conv(self, index: int, entering: np.ndarray) -> np.ndarray:
        """Compute layer `index`, a 1x1 convolution, without its activation."""
        part = self.weights.convolutions[index]
        product = np.einsum("oi,ihw->ohw", part.filters[:, :, 0, 0], entering)
        return product + part.biases[:, None, None]


def run(folder: Path, layers: str, channels: int) -> Ran:
    """Run layers on a picture of noise; the last one has `channels` outputs."""
    cfg, path = folder / "x.cfg", folder / "x.weights"
    head = f"[yolo]\nclasses={channels - 5}\nnum=1\nanchors=5,5\n"
    cfg.write_text(f"[net]\nwidth={WIDTH}\nheight={HEIGHT}\nchannels=3\n{layers}{head}")
    network = plan_network(read_cfg(cfg))
    random = np.random.default_rng(5)
    write_weights(path, random.normal(0, 1.5, network.float_count))
    weights = read_weights(path, network)
    image = random.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    output = OpenVinoEngine(build_graph(network, weights), threads=1).execute(image[np.newaxis])[0][
        0
    ]
    return Ran(image.transpose(2, 0, 1).astype(np.float32) / 255, weights, output)


def hard_mish(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, np.where(x > -2, x * x / 2 + x, 0))


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("mish", lambda x: x * np.tanh(np.log1p(np.exp(x)))),
        ("hard_mish", hard_mish),
        ("swish", lambda x: x / (1 + np.exp(-x))),
        ("relu6", lambda x: np.clip(x, 0, 6)),
        ("elu", lambda x: np.where(x >= 0, x, np.exp(x) - 1)),
        ("selu", lambda x: np.where(x >= 0, 1.0507 * x, 1.0507 * 1.6732 * (np.exp(x) - 1))),
        ("tanh", np.tanh),
        ("logistic", lambda x: 1 / (1 + np.exp(-x))),
    ],
)
def test_an_activation_follows_its_formula(
    tmp_path: Path, name: str, formula: Callable[[np.ndarray], np.ndarray]
) -> None:
    """Formulas of `src/activations.h` and `src/activations.c`."""
    ran = run(tmp_path, conv(6, name), 6)

    assert np.allclose(ran.output, formula(ran.conv(0, ran.picture)), rtol=1e-4, atol=1e-5)


def test_local_avgpool_ignores_the_padding(tmp_path: Path) -> None:
    """forward_local_avgpool_layer: a 3x3 window that starts one pixel outside the picture."""
    ran = run(tmp_path, f"{conv(6)}[local_avgpool]\nsize=3\nstride=2\n", 6)

    whole = ran.conv(0, ran.picture)
    expected = np.empty((6, 4, 6))
    for row, column in np.ndindex(4, 6):
        top, left = max(0, 2 * row - 1), max(0, 2 * column - 1)
        expected[:, row, column] = whole[:, top : 2 * row + 2, left : 2 * column + 2].mean((1, 2))
    assert np.allclose(ran.output, expected, atol=1e-5)


def test_maxpool_strides_differently_down_and_across(tmp_path: Path) -> None:
    ran = run(tmp_path, f"{conv(6)}[maxpool]\nsize=2\nstride_x=2\nstride_y=1\n", 6)

    padded = np.pad(ran.conv(0, ran.picture), ((0, 0), (0, 1), (0, 0)), constant_values=-np.inf)
    pairs = padded.reshape(6, HEIGHT + 1, WIDTH // 2, 2).max(axis=3)
    assert np.allclose(ran.output, np.maximum(pairs[:, :-1], pairs[:, 1:]), atol=1e-5)


def test_sam_multiplies_value_by_value(tmp_path: Path) -> None:
    ran = run(tmp_path, f"{conv(6)}{conv(6)}[sam]\nfrom=-2\nactivation=leaky\n", 6)

    first = ran.conv(0, ran.picture)
    product = first * ran.conv(1, first)
    assert np.allclose(ran.output, np.where(product > 0, product, 0.1 * product), atol=1e-4)


def test_scale_channels_may_have_a_factor_for_every_pixel(tmp_path: Path) -> None:
    ran = run(tmp_path, f"{conv(6)}{conv(1)}[scale_channels]\nfrom=-2\nscale_wh=1\n", 6)

    first = ran.conv(0, ran.picture)
    assert np.allclose(ran.output, first * ran.conv(1, first), atol=1e-4)


def test_shortcut_adds_the_channels_that_both_layers_have(
    tmp_path: Path,
) -> None:
    """shortcut_multilayer_cpu adds as many channels as both layers have."""
    ran = run(tmp_path, f"{conv(9)}{conv(4)}{conv(6)}[shortcut]\nfrom=-3,-2\nactivation=swish\n", 6)

    nine = ran.conv(0, ran.picture)
    four = ran.conv(1, nine)
    total = ran.conv(2, four) + nine[:6]
    total[:4] += four
    assert np.allclose(ran.output, total / (1 + np.exp(-total)), rtol=1e-4, atol=1e-4)


def test_reorg3d_moves_squares_into_channels(tmp_path: Path) -> None:
    """reorg_cpu, called with its output's sizes: first the top left pixels of all channels."""
    ran = run(tmp_path, f"{conv(3)}[reorg3d]\nstride=2\n", 12)

    whole = ran.conv(0, ran.picture)
    expected = np.empty((12, HEIGHT // 2, WIDTH // 2))
    for channel, row, column in np.ndindex(expected.shape):
        down, right = divmod(channel // 3, 2)
        expected[channel, row, column] = whole[channel % 3, 2 * row + down, 2 * column + right]
    assert np.allclose(ran.output, expected, atol=1e-5)


def test_a_grouped_route_takes_its_part_of_every_source(tmp_path: Path) -> None:
    ran = run(tmp_path, f"{conv(8)}{conv(4)}[route]\nlayers=-1,-2\ngroups=2\ngroup_id=1\n", 6)

    eight = ran.conv(0, ran.picture)
    assert np.allclose(ran.output, np.concatenate([ran.conv(1, eight)[2:], eight[4:]]), atol=1e-4)


@pytest.mark.parametrize(
    ("activation", "deviation"),
    [("leaky", np.sqrt(1e-6) + 1e-6), ("mish", np.sqrt(1e-6 + 1e-5))],
    ids=["pjreddie", "AlexeyAB"],
)
def test_each_darknet_normalises_in_its_own_way(
    tmp_path: Path, activation: str, deviation: float
) -> None:
    """normalize_cpu of `src/blas.c`: a variance of 1e-6 shows the difference.

    An activation that only the fork has selects the fork's formula.
    """
    cfg, weights = tmp_path / "x.cfg", tmp_path / "x.weights"
    cfg.write_text(
        f"[net]\nwidth={WIDTH}\nheight={HEIGHT}\nchannels=3\n"
        f"{conv(6)}batch_normalize=1\n{conv(3, activation)}"
        f"[route]\nlayers=0\n[yolo]\nclasses=1\nnum=1\nanchors=5,5\n"
    )
    ones = np.ones(6)
    filters = np.tile([[1e-3, 0, 0]], (6, 1)).ravel()
    normalised = np.concatenate([0 * ones, ones, 0 * ones, 1e-6 * ones, filters])
    write_weights(weights, np.concatenate([normalised, np.ones(3 + 3 * 6)]))
    network = plan_network(read_cfg(cfg))
    engine = OpenVinoEngine(build_graph(network, read_weights(weights, network)), threads=1)

    output = engine.execute(np.full((1, HEIGHT, WIDTH, 3), 255, np.uint8))[0]

    assert np.allclose(output, 1e-3 / deviation, rtol=1e-4)
