"""The formulas of a saliency map written out slowly: the fast code must agree with them."""

from __future__ import annotations

import math

import numpy as np


def upsample(grid: np.ndarray, cell: int) -> np.ndarray:
    """Enlarge (rows, columns) by `cell`, bilinearly between the centres of cells."""
    rows, columns = grid.shape
    large = np.zeros((rows * cell, columns * cell))
    for y in range(rows * cell):
        for x in range(columns * cell):
            at_y = min(max((y + 0.5) / cell - 0.5, 0), rows - 1)
            at_x = min(max((x + 0.5) / cell - 0.5, 0), columns - 1)
            top, left = math.floor(at_y), math.floor(at_x)
            low, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            part_y, part_x = at_y - top, at_x - left
            upper = grid[top, left] * (1 - part_x) + grid[top, right] * part_x
            lower = grid[low, left] * (1 - part_x) + grid[low, right] * part_x
            large[y, x] = upper * (1 - part_y) + lower * part_y
    return large


def iou(one: np.ndarray, other: np.ndarray) -> float:
    """Return the intersection over union of two boxes, x1 y1 x2 y2."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return float(both / (sum(areas) - both))


def weigh(rows: np.ndarray, class_number: int, box: np.ndarray) -> float:
    """Return the best IoU x score of the rows of a class."""
    return max((iou(row[:4], box) * row[4] for row in rows if row[5] == class_number), default=0.0)


def saliency(masks: list[np.ndarray], weights: list[float]) -> np.ndarray:
    """Return the mean weight of each pixel while it is visible, less that while it is hidden."""
    height, width = masks[0].shape
    result = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            seen = [
                (float(mask[y, x]), weight) for mask, weight in zip(masks, weights, strict=True)
            ]
            visible = math.fsum(mask for mask, _ in seen)
            hidden = math.fsum(1 - mask for mask, _ in seen)
            if visible > 0 and hidden > 0:
                result[y, x] = (
                    math.fsum(mask * weight for mask, weight in seen) / visible
                    - math.fsum((1 - mask) * weight for mask, weight in seen) / hidden
                )
    return result
