"""Detections of a network in one picture: Darknet's letterbox, decoding and NMS in PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from training.letterbox import letterbox, place
from training.network import Network, decode


@dataclass(frozen=True)
class Found:
    """A detection: class index, score, box (left, top, right, bottom) in px of the picture."""

    label: int
    score: float
    box: tuple[float, float, float, float]


def detect(
    network: Network, picture: NDArray[np.uint8], threshold: float, iou: float
) -> list[Found]:
    """Find objects in an RGB picture [h, w, 3]; NMS is per class, the best score comes first."""
    return detect_in_input(network, letterbox(picture, network.side), picture.shape, threshold, iou)


@torch.no_grad()
def detect_in_input(
    network: Network,
    tensor: NDArray[np.float32],
    shape: tuple[int, ...],
    threshold: float,
    iou: float,
) -> list[Found]:
    """Detect in a letterboxed input [3, side, side]; `shape` is the picture's (height, width)."""
    maps = network(torch.from_numpy(tensor)[None])
    boxes, objectness, classes = decode(maps, network.heads, network.side)
    scores = (objectness[0].sigmoid()[:, None] * classes[0].sigmoid()).numpy()
    corners = _to_picture(boxes[0].numpy(), shape[1], shape[0], network.side)
    found: list[Found] = []
    for label in range(scores.shape[1]):
        index = np.flatnonzero(scores[:, label] > threshold)
        for kept in suppress(corners[index], scores[index, label], iou):
            left, top, right, bottom = (float(number) for number in corners[index[kept]])
            score = float(scores[index[kept], label])
            found.append(Found(label, score, (left, top, right, bottom)))
    return sorted(found, key=lambda one: -one.score)


def _to_picture(
    boxes: NDArray[np.float32], width: int, height: int, side: int
) -> NDArray[np.float64]:
    """Turn (cx, cy, w, h) in input px into corners in picture px; offsets are not truncated."""
    at = place(width, height, side)
    x = (boxes[:, 0] - (side - at.width) / 2) * width / at.width
    y = (boxes[:, 1] - (side - at.height) / 2) * height / at.height
    half_width = boxes[:, 2] * width / at.width / 2
    half_height = boxes[:, 3] * height / at.height / 2
    return np.stack([x - half_width, y - half_height, x + half_width, y + half_height], 1)


def suppress(corners: NDArray[np.float64], scores: NDArray[np.float32], iou: float) -> list[int]:
    """Keep the best boxes: each kept one removes those that overlap it by more than `iou`."""
    kept: list[int] = []
    left = list(np.argsort(-scores, kind="stable"))
    while left:
        best, *others = left
        kept.append(int(best))
        overlap = overlaps(corners[best], corners[others])
        left = [index for index, value in zip(others, overlap, strict=True) if value <= iou]
    return kept


def overlaps(box: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the IoU of one box (corners) with each of others [n, 4]."""
    size = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.maximum(size, 0).prod(1)
    union = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1) - shared
    return shared / np.maximum(union, 1e-9)
