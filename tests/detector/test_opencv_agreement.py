"""Agreement with OpenCV 4's importer of Darknet files, an oracle that is always installed."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from elastic_yolo.detector.darknet.cfg import read_cfg
from elastic_yolo.detector.darknet.layers import Head
from elastic_yolo.detector.darknet.plan import plan_network
from elastic_yolo.detector.darknet.weights import read_weights
from elastic_yolo.detector.engines.openvino import OpenVinoEngine
from elastic_yolo.detector.graph import build_graph
from elastic_yolo.detector.heads import sigmoid
from tests.support.tiny import write_weights

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


# Layers that YOLOv4 and its variants add.
CFG_V4 = """[net]
width=96
height=64
channels=3

[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=mish

[convolutional]
batch_normalize=1
filters=12
size=3
stride=2
pad=1
groups=4
activation=swish

[route]
layers=-1
groups=2
group_id=1

[convolutional]
batch_normalize=1
filters=6
size=3
pad=1
activation=mish

[route]
layers=-1,-2

[shortcut]
from=-4
activation=linear

[avgpool]

[convolutional]
filters=12
size=1
activation=logistic

[scale_channels]
from=-3

[dropout]
probability=.5

[convolutional]
filters=14
size=1
pad=1
activation=linear

[yolo]
mask=0,1
anchors=4,6, 9,7, 20,25, 40,30
classes=2
num=4
scale_x_y=1.05
nms_kind=greedynms
beta_nms=0.6

[route]
layers=-3

[convolutional]
filters=14
size=1
pad=1
activation=logistic

[yolo]
mask=2,3
anchors=4,6, 9,7, 20,25, 40,30
classes=2
num=4
scale_x_y=2.0
new_coords=1
"""


def write_files(folder: Path, text: str) -> tuple[Path, Path]:
    """Write a .cfg and random weights for it."""
    cfg, weights = folder / "net.cfg", folder / "net.weights"
    cfg.write_text(text)
    random = np.random.default_rng(7)
    parts = []
    for layer in plan_network(read_cfg(cfg)).convolutions:
        count = layer.output.channels
        parts.append(random.normal(0, 0.5, count))
        if layer.batch_normalize:
            parts += [random.uniform(0.5, 1.5, count), random.normal(0, 0.5, count)]
            parts.append(random.uniform(0.5, 1.5, count))
        fan_in = int(np.prod(layer.weights_shape[1:]))
        parts.append(random.normal(0, 2 / fan_in**0.5, count * fan_in))
    write_weights(weights, np.concatenate(parts))
    return cfg, weights


@pytest.mark.parametrize("text", [CFG, CFG_V4], ids=["v3", "v4"])
def test_every_layer_agrees_with_opencv(tmp_path: Path, text: str) -> None:
    """OpenCV's region output is (cells, 5 + classes), with decoded x, y, objectness, scores."""
    cfg, weights = write_files(tmp_path, text)
    network = plan_network(read_cfg(cfg))
    image = np.random.default_rng(1).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    net = cv2.dnn.readNetFromDarknet(str(cfg), str(weights))
    net.setInput(cv2.dnn.blobFromImage(image, 1 / 255))
    expected = net.forward(net.getUnconnectedOutLayersNames())

    engine = OpenVinoEngine(build_graph(network, read_weights(weights, network)), threads=1)
    outputs = engine.execute(image[np.newaxis])

    for head, ours, theirs in zip(network.heads, outputs, expected, strict=True):
        boxes, objectness, scores = decode_densely(head, ours, (96, 64))
        region = theirs.reshape(*objectness.shape, 7)
        assert np.allclose(boxes, region[..., :4], rtol=1e-3, atol=1e-4)
        assert np.allclose(objectness, region[..., 4], atol=1e-4)
        shown = region[..., 5:] > 0  # OpenCV leaves out scores below its own threshold
        assert shown.any()
        assert np.allclose(scores[shown], region[..., 5:][shown], atol=1e-4)


def decode_densely(
    head: Head, output: np.ndarray, network: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return centre boxes relative to the picture, objectness and scores of every cell."""
    rows, columns = head.output.height, head.output.width
    cells = output.reshape(len(head.anchors), 7, rows, columns).transpose(2, 3, 0, 1)
    activated = cells if head.new_coords else sigmoid(cells)
    place = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=2)[:, :, None]
    inside = activated[..., :2] * head.scale_xy - (head.scale_xy - 1) / 2
    centres = (inside + place) / [columns, rows]
    factors = 4 * cells[..., 2:4] ** 2 if head.new_coords else np.exp(cells[..., 2:4])
    sizes = factors * np.array(head.anchors) / network
    objectness = activated[..., 4]
    scores = objectness[..., None] * activated[..., 5:]
    return np.concatenate([centres, sizes], axis=-1), objectness, scores
