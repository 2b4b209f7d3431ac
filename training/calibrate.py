"""Shift the objectness bias so that 0.5 is the threshold with the best F1.

Cross-entropy over many empty cells leaves scores low. One number, added to the objectness bias of
both heads, corrects that; the ranking of boxes by objectness does not change. The number is chosen
on scenes with the training photographs and a seed of their own, not on held-out scenes. The weights
are written beside the .cfg, under its name.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from training.backgrounds import TRAINING_PHOTOS, load_photos
from training.classes import DEMO_CFG, SEEN
from training.dataset import held_out_scene
from training.detect import detect_in_input
from training.evaluate import count_right
from training.export import read_weights, write_weights
from training.letterbox import letterbox
from training.network import Network, build
from training.scenes import Assets, Thing
from training.sprites import PICTURE_SIZES, load_sheet

THRESHOLD, IOU = 0.5, 0.45
SCENES, SEED = 200, 2_000_000
SHIFTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)


@dataclass(frozen=True)
class Case:
    """A letterboxed scene [3, side, side], the shape of its picture, and its objects."""

    tensor: NDArray[np.float32]
    shape: tuple[int, ...]
    things: tuple[Thing, ...]


def main() -> None:
    """Try every shift, keep the one with the best F1 at the threshold, and write the weights."""
    arguments = _arguments()
    cv2.setNumThreads(0)
    network = build(arguments.cfg).eval()
    seen = read_weights(network, arguments.weights)
    cases = _cases(arguments.packages, network.side)
    scores = []
    for shift in SHIFTS:
        shift_objectness(network, shift)
        scores.append(_f1(network, cases))
        shift_objectness(network, -shift)
        print(f"shift {shift:.2f}: F1 {scores[-1]:.4f}", flush=True)
    best = SHIFTS[int(np.argmax(scores))]
    shift_objectness(network, best)
    out = arguments.cfg.with_suffix(".weights")
    write_weights(network, out, seen)
    print(f"wrote {out} with objectness shifted by {best}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="training.calibrate", description=__doc__)
    parser.add_argument("--packages", type=Path, required=True, help="npm's node_modules folder")
    parser.add_argument("--cfg", type=Path, default=DEMO_CFG, help="the network (%(default)s)")
    parser.add_argument("--weights", type=Path, required=True, help="output of training.train")
    return parser.parse_args()


def _cases(packages: Path, side: int) -> list[Case]:
    photos = load_photos(TRAINING_PHOTOS, 2048)
    assets = Assets(load_sheet(packages, SEEN, PICTURE_SIZES), photos)
    cases = []
    for index in range(SCENES):
        scene = held_out_scene(assets, SEED, index)
        tensor = letterbox(scene.picture, side)
        cases.append(Case(tensor, scene.picture.shape, scene.things))
    return cases


@torch.no_grad()
def shift_objectness(network: Network, shift: float) -> None:
    """Add `shift` to the objectness bias of every anchor of every head."""
    heads = iter(network.heads)
    for kind, previous in zip(network.kinds[1:], list(network.layers)[:-1], strict=True):
        if kind == "yolo":
            previous.conv.bias.view(len(next(heads).anchors), -1)[:, 4] += shift


def _f1(network: Network, cases: list[Case]) -> float:
    """Return the harmonic mean of precision and recall at the threshold, over all classes."""
    right = given = wanted = 0
    for case in cases:
        found = detect_in_input(network, case.tensor, case.shape, THRESHOLD, IOU)
        right += count_right(found, case.things)
        given, wanted = given + len(found), wanted + len(case.things)
    return 2 * right / max(1, given + wanted)


if __name__ == "__main__":
    main()
