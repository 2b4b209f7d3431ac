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


def average(mask: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Return the mean of a mask over each of rows x columns cells, whose sides may be fractions."""
    height, width = mask.shape
    result = np.zeros((rows, columns))
    for row in range(rows):
        for column in range(columns):
            for y in range(height):
                for x in range(width):
                    share_y = _shared(row * height / rows, (row + 1) * height / rows, y)
                    share_x = _shared(column * width / columns, (column + 1) * width / columns, x)
                    result[row, column] += mask[y, x] * share_y * share_x
    return result * rows * columns / (height * width)


def _shared(begin: float, end: float, pixel: int) -> float:
    return max(0.0, min(end, pixel + 1) - max(begin, pixel))


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


def fit(
    visible: list[np.ndarray], weights: list[float], *, length: float, noise: float
) -> np.ndarray:
    """Return the mean of a Gaussian process's values, (rows, columns), as textbooks write it.

    With a matrix of masks x masks: K = X P X', values = P X' (K + s I)^-1 y, where s is `noise` of
    the mean variance in K. `visible` has the visible part of each cell, (rows, columns) a mask.
    """
    rows, columns = visible[0].shape
    cells = [(row, column) for row in range(rows) for column in range(columns)]
    prior = np.array(
        [
            [math.exp(-(math.dist(one, other) ** 2) / (2 * length**2)) for other in cells]
            for one in cells
        ]
    )
    x = np.array([[mask[cell] for cell in cells] for mask in visible])
    x = x - x.mean(axis=0)
    y = np.array(weights) - np.mean(weights)
    covariance = x @ prior @ x.T
    covariance += np.eye(len(x)) * noise * np.trace(covariance) / len(x)
    return (prior @ x.T @ np.linalg.inv(covariance) @ y).reshape(rows, columns)
