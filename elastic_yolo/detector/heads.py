"""Decode the raw outputs of [yolo], [Gaussian_yolo] and [region] heads into scored boxes.

Formulas: Darknet `src/yolo_layer.c` and `src/region_layer.c` (pjreddie, 2018); AlexeyAB's fork of
both for `scale_x_y` and `new_coords`, and its `src/gaussian_yolo_layer.c`. Papers: Redmon
and Farhadi, "YOLO9000: Better, Faster, Stronger", 2016, section 2; "YOLOv3: An Incremental
Improvement", 2018, section 2.1; Choi et al., "Gaussian YOLOv3", 2019, section 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from elastic_yolo.detector.boxes import Floats
from elastic_yolo.detector.darknet.layers import Head, Network


@dataclass(frozen=True)
class Candidates:
    """Boxes of one picture from all heads, above the threshold and before NMS.

    `boxes` (k, 4) float32: x1 y1 x2 y2 in network pixels; `objectness` (k,) float32;
    `scores` (k, classes) float32: objectness x class probability, or 0 if not above the threshold.
    """

    boxes: Floats
    objectness: Floats
    scores: Floats


@dataclass(frozen=True)
class _Columns:
    """Indices of a box's values in a head's output; class values follow the objectness."""

    point: list[int]
    size: list[int]
    uncertainty: list[int]
    objectness: int


_PLAIN = _Columns(point=[0, 1], size=[2, 3], uncertainty=[], objectness=4)
# The uncertainty of each coordinate follows it.
_GAUSSIAN = _Columns(point=[0, 2], size=[4, 6], uncertainty=[1, 3, 5, 7], objectness=8)


def decode_heads(network: Network, outputs: list[Floats], threshold: float) -> Candidates:
    """Decode the outputs of all heads for one picture.

    `outputs[i]` is (anchors * values, rows, columns) float32, the input of head i. A box is kept
    if its objectness exceeds `threshold`, and a class of it if the class's score does.
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


def _decode_head(head: Head, output: Floats, network: Network, threshold: float) -> Candidates:
    height, width = head.output.height, head.output.width
    values = output.reshape(len(head.anchors), head.values, height, width)
    columns = _GAUSSIAN if head.gaussian else _PLAIN
    # Compares raw values with the threshold's logit, so that exponentials are computed only for the
    # few boxes above it, out of thousands.
    minimum = np.float32(threshold) if head.new_coords else _logit(threshold)
    anchor, row, column = np.nonzero(values[:, columns.objectness] > minimum)
    chosen = values[anchor, :, row, column]
    cell = np.array([network.input.width / width, network.input.height / height], np.float32)
    points = (_offsets(head, chosen[:, columns.point]) + np.stack((column, row), axis=1)) * cell
    half = _sizes(head, chosen[:, columns.size]) * np.array(head.anchors, np.float32)[anchor] / 2
    with np.errstate(invalid="ignore"):  # an infinite size has no corners; dropped below
        centres = points + np.float32(2 * head.centre_offset) * half
        boxes = np.concatenate((centres - half, centres + half), axis=1).astype(np.float32)
    objectness, scores = _scores(head, chosen, columns)
    scores[~(scores > threshold)] = 0
    finite = np.isfinite(boxes).all(axis=1)
    return Candidates(boxes[finite], objectness[finite], scores[finite])


def _scores(head: Head, values: Floats, columns: _Columns) -> tuple[Floats, Floats]:
    """Return objectness (k,) and the scores of all classes (k, classes)."""
    objectness = values[:, columns.objectness]
    if not head.new_coords:
        objectness = sigmoid(objectness)
    scores: Floats = objectness[:, None] * _classes(head, values[:, columns.objectness + 1 :])
    if columns.uncertainty:
        scores *= 1 - sigmoid(values[:, columns.uncertainty]).mean(axis=1, keepdims=True)
    return objectness, scores


def _offsets(head: Head, values: Floats) -> Floats:
    inside = values if head.new_coords else sigmoid(values)
    scale = np.float32(head.scale_xy)
    result: Floats = inside * scale - np.float32(0.5) * (scale - np.float32(1))
    return result


def _sizes(head: Head, values: Floats) -> Floats:
    if head.new_coords:
        squares: Floats = np.square(2 * values)
        return squares
    with np.errstate(over="ignore"):  # a size beyond float32 is infinite; the caller drops it
        exponentials: Floats = np.exp(values)
    return exponentials


def _classes(head: Head, values: Floats) -> Floats:
    if head.new_coords:
        return values
    if not head.softmax:
        return sigmoid(values)
    exponentials = np.exp(values - values.max(axis=1, keepdims=True, initial=-np.inf))
    result: Floats = exponentials / exponentials.sum(axis=1, keepdims=True)
    return result


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
