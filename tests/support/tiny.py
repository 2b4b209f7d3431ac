"""A Darknet model so small that its detections can be computed by hand.

The network is one 1x1 convolution that reads one pixel in 32 and feeds a [yolo] head with one
anchor of 16x8 pixels and two classes. Its filters are zero and its biases fixed, so for every
cell: the box is centred in the cell, has the anchor's size, objectness sigmoid(OBJECTNESS), class
`square` sigmoid(CLASS), class `circle` sigmoid(-CLASS).
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from elastic_yolo.detector.profile import Profile

CELL = 32
ANCHOR = (16, 8)
OBJECTNESS = 4.0
CLASS = 3.0
SCORE = 1 / (1 + math.exp(-OBJECTNESS)) / (1 + math.exp(-CLASS))

CFG = """
[net]
width={width}
height={height}
channels=3

[convolutional]
filters=7
size=1
stride=32
activation=linear

[yolo]
mask=0
anchors=16,8
classes=2
num=1
"""


def write_tiny_model(
    folder: Path, *, width: int = CELL, height: int = CELL, manifest: str = ""
) -> Path:
    """Write the model with a network of width x height pixels and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.cfg").write_text(CFG.format(width=width, height=height))
    (folder / "tiny.names").write_text("square\ncircle\n")
    biases = np.array([0, 0, 0, 0, OBJECTNESS, CLASS, -CLASS])
    write_weights(folder / "tiny.weights", np.concatenate([biases, np.zeros(7 * 3)]))
    if manifest:
        (folder / "model.yaml").write_text(manifest)
    return folder


def reference_of_squares(brightness: int) -> bytes:
    """Return a reference.json from grey pictures of one brightness, with a square in each."""
    reference = Profile(classes=2)
    square = np.array([[8, 12, 24, 20, 0.935, 0]], np.float32)
    reference.add(np.full((300, CELL, CELL, 3), brightness, np.uint8), [square] * 300)
    return reference.to_json()


def write_weights(
    path: Path, values: np.ndarray, *, version: tuple[int, int, int] = (0, 2, 0), seen: int = 77
) -> None:
    """Write a .weights file with the header of a version and the values as float32."""
    wide = version[0] * 10 + version[1] >= 2 and max(version[:2]) < 1000
    header = np.array(version, "<i4").tobytes()
    header += np.array(seen, "<u8" if wide else "<u4").tobytes()
    path.write_bytes(header + np.asarray(values, "<f4").tobytes())
