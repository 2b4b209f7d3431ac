"""OpenCV 4 reads Darknet's files with code of its own: an oracle that is always installed."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from detector.darknet.cfg import read_cfg
from detector.darknet.layers import Convolutional, plan_network
from detector.darknet.weights import read_weights
from detector.engines.openvino import OpenVinoEngine
from detector.graph import build_graph
from detector.heads import sigmoid
from tests.tiny import write_weights

CFG = """[net]
width=96
height=64
channels=3

[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=leaky

[convolutional]
batch_normalize=1
filters=8
size=1
pad=1
activation=leaky

[shortcut]
from=-2
activation=linear

[maxpool]
size=2
stride=2

[convolutional]
batch_normalize=1
filters=12
size=3
stride=2
pad=1
activation=leaky

[maxpool]
size=2
stride=1

[maxpool]
size=5
stride=1

[route]
layers=-2,-1

[convolutional]
filters=14
size=1
pad=1
activation=linear

[yolo]
mask=2,3
anchors=4,6, 9,7, 20,25, 40,30
classes=2
num=4

[route]
layers=-4

[upsample]
stride=2

[route]
layers=-1,3

[convolutional]
filters=14
size=3
pad=1
activation=linear

[yolo]
mask=0,1
anchors=4,6, 9,7, 20,25, 40,30
classes=2
num=4
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A network with every kind of layer, and random weights."""
    folder = tmp_path_factory.mktemp("every-layer")
    cfg, weights = folder / "net.cfg", folder / "net.weights"
    cfg.write_text(CFG)
    network = plan_network(read_cfg(cfg))
    random = np.random.default_rng(7)
    parts = []
    for layer in network.layers:
        if isinstance(layer, Convolutional):
            count = layer.output.channels
            parts.append(random.normal(0, 0.5, count))
            if layer.batch_normalize:
                parts += [random.uniform(0.5, 1.5, count), random.normal(0, 0.5, count)]
                parts.append(random.uniform(0.5, 1.5, count))
            fan_in = int(np.prod(layer.weights_shape[1:]))
            parts.append(random.normal(0, 2 / fan_in**0.5, count * fan_in))
    write_weights(weights, np.concatenate(parts))
    return cfg, weights


def test_every_layer_agrees_with_opencv(files: tuple[Path, Path]) -> None:
    """OpenCV's region output is (cells, 5 + classes) with x, y, objectness, scores decoded."""
    cfg, weights = files
    network = plan_network(read_cfg(cfg))
    image = np.random.default_rng(1).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    net = cv2.dnn.readNetFromDarknet(str(cfg), str(weights))
    net.setInput(cv2.dnn.blobFromImage(image, 1 / 255))
    expected = net.forward(net.getUnconnectedOutLayersNames())

    engine = OpenVinoEngine(build_graph(network, read_weights(weights, network)), threads=1)
    outputs = engine.run(image[np.newaxis])

    for head, ours, theirs in zip(network.heads, outputs, expected, strict=True):
        rows, columns = head.output.height, head.output.width
        cells = ours.reshape(len(head.anchors), 7, rows, columns).transpose(2, 3, 0, 1)
        theirs = theirs.reshape(cells.shape)  # noqa: PLW2901
        offset_x = np.arange(columns)[None, :, None]
        assert np.allclose((sigmoid(cells[..., 0]) + offset_x) / columns, theirs[..., 0], atol=1e-4)
        widths = np.array([width for width, _ in head.anchors]) / 96
        assert np.allclose(np.exp(cells[..., 2]) * widths, theirs[..., 2], rtol=1e-3)
        objectness = sigmoid(cells[..., 4])
        assert np.allclose(objectness, theirs[..., 4], atol=1e-4)
        scores = objectness[..., None] * sigmoid(cells[..., 5:])
        shown = theirs[..., 5:] > 0  # OpenCV leaves out scores below its own threshold
        assert shown.any()
        assert np.allclose(scores[shown], theirs[..., 5:][shown], atol=1e-4)
