"""Training samples: numbered scenes, letterboxed into the network's square."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from training.letterbox import place
from training.scenes import Assets, Scene, Thing, draw_scene

Sample = tuple[NDArray[np.uint8], NDArray[np.float32]]
WIDEST = 2.0  # width / height of training pictures lies between 1 / WIDEST and WIDEST


class SceneRow(Dataset[Sample]):
    """Sample i depends on `seed` and i only: a picture [side, side, 3] and [n, 5] objects."""

    def __init__(self, assets: Assets, seed: int, side: int, first: int, count: int) -> None:
        """Number the samples `first`, `first` + 1, ... so that stages do not repeat scenes."""
        self.assets, self.seed, self.side = assets, seed, side
        self.first, self.count = first, count

    def __len__(self) -> int:
        """Return the number of samples."""
        return self.count

    def __getitem__(self, index: int) -> Sample:
        """Draw sample `index`; objects are (class, cx, cy, w, h) in px of the square."""
        rng = np.random.default_rng([self.seed, self.first + index])
        return draw_sample(rng, self.assets, self.side)


def draw_sample(rng: np.random.Generator, assets: Assets, side: int) -> Sample:
    """Draw a scene of random aspect and letterbox it; some are shrunk from a larger one."""
    aspect = np.exp(rng.uniform(-np.log(WIDEST), np.log(WIDEST)))
    at = place(round(1000 * aspect), 1000, side)
    if rng.random() < 0.85:
        scene = draw_scene(rng, assets, at.width, at.height)
    else:
        factor = rng.uniform(1.2, 2.0)
        scene = draw_scene(rng, assets, int(at.width * factor), int(at.height * factor))
        scene = _shrink(rng, scene, at.width, at.height)
    square = np.full((side, side, 3), 127 + int(rng.integers(0, 2)), np.uint8)
    square[at.top : at.top + at.height, at.left : at.left + at.width] = scene.picture
    return square, _rows(scene, at.left, at.top)


def _shrink(rng: np.random.Generator, scene: Scene, width: int, height: int) -> Scene:
    old_height, old_width = scene.picture.shape[:2]
    method = cv2.INTER_AREA if rng.random() < 0.4 else cv2.INTER_LINEAR
    x, y = width / old_width, height / old_height
    things = tuple(
        Thing(t.label, (t.box[0] * x, t.box[1] * y, t.box[2] * x, t.box[3] * y))
        for t in scene.things
    )
    return Scene(cv2.resize(scene.picture, (width, height), interpolation=method), things)


def _rows(scene: Scene, left: int, top: int) -> NDArray[np.float32]:
    rows = [
        (t.label, left + (x0 + x1) / 2, top + (y0 + y1) / 2, x1 - x0, y1 - y0)
        for t in scene.things
        for x0, y0, x1, y1 in [t.box]
    ]
    return np.array(rows, np.float32).reshape(-1, 5)


def collate(samples: Sequence[Sample]) -> tuple[torch.Tensor, torch.Tensor]:
    """Stack to pictures [b, 3, side, side] uint8 (channels last) and objects [b, most, 5].

    Rows of class -1 fill the objects of pictures that have fewer than the most.
    """
    pictures = torch.from_numpy(np.stack([picture for picture, _ in samples]))
    most = max(1, *(len(rows) for _, rows in samples))
    objects = torch.full((len(samples), most, 5), -1.0)
    for index, (_, rows) in enumerate(samples):
        objects[index, : len(rows)] = torch.from_numpy(rows)
    return pictures.permute(0, 3, 1, 2), objects
