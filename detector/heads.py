"""Decode the raw outputs of [yolo] layers into scored boxes.

Formulas: Darknet `src/yolo_layer.c`, forward_yolo_layer and get_yolo_box (2018); the paper is
Redmon and Farhadi, "YOLOv3: An Incremental Improvement", 2018, section 2.1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from detector.boxes import Floats
from detector.darknet.layers import Network, Yolo


@dataclass(frozen=True)
class Candidates:
    """What the heads of one picture propose, above the threshold and before suppression.

    `boxes` (k, 4) float32: x1 y1 x2 y2 in network pixels; `objectness` (k,) float32;
    `scores` (k, classes) float32: objectness x class probability, 0 where not above the threshold.
    """

    boxes: Floats
    objectness: Floats
    scores: Floats


def decode_heads(network: Network, outputs: list[Floats], threshold: float) -> Candidates:
    """Decode the outputs of all heads for one picture.

    `outputs[i]` is (anchors * (5 + classes), rows, columns) float32, as it enters head i. A box
    counts where its objectness exceeds `threshold`, a class of it where its score does.
    """
    parts = [
        _decode_head(head, output, network, threshold)
        for head, output in zip(network.heads, outputs, strict=True)
    ]
    return Candidates(
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.objectness for part in parts]),
        np.concatenate([part.scores for part in parts]),
    )


def _decode_head(head: Yolo, output: Floats, network: Network, threshold: float) -> Candidates:
    rows, columns = head.output.height, head.output.width
    values = output.reshape(len(head.anchors), 5 + head.classes, rows, columns)
    # Only cells whose objectness passes are worth an exponential: usually a handful of thousands.
    anchor, row, column = np.nonzero(values[:, 4] > _logit(threshold))
    chosen = values[anchor, :, row, column]
    sizes = np.array(head.anchors, np.float32)[anchor]
    x = (sigmoid(chosen[:, 0]) + column) * np.float32(network.input.width / columns)
    y = (sigmoid(chosen[:, 1]) + row) * np.float32(network.input.height / rows)
    with np.errstate(over="ignore"):  # a size beyond float32 is infinite, and dropped below
        half = np.exp(chosen[:, 2:4]) * sizes / 2
    boxes = np.stack((x - half[:, 0], y - half[:, 1], x + half[:, 0], y + half[:, 1]), axis=1)
    objectness = sigmoid(chosen[:, 4])
    scores = objectness[:, None] * sigmoid(chosen[:, 5:])
    scores[~(scores > threshold)] = 0
    sane = np.isfinite(boxes).all(axis=1)
    return Candidates(boxes[sane].astype(np.float32), objectness[sane], scores[sane])


def sigmoid(values: Floats) -> Floats:
    """Return 1 / (1 + exp(-values)) without overflow."""
    result: Floats = np.float32(0.5) * (np.tanh(np.float32(0.5) * values) + np.float32(1))
    return result


def _logit(probability: float) -> np.float32:
    """Return the value whose sigmoid is `probability`."""
    if probability <= 0:
        return np.float32(-np.inf)
    if probability >= 1:
        return np.float32(np.inf)
    return np.float32(math.log(probability / (1 - probability)))
