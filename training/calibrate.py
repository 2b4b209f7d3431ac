"""Shift the objectness so that a score of 0.5 is the best threshold: see `--help`.

Cross-entropy over very many empty cells leaves scores low. One number added to the objectness
bias of both heads corrects that; the ranking of boxes by objectness stays as it is. The number is
found on scenes with the training's photographs and a seed of their own, not on held-out ones.
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
from training.classes import NAMES, SEEN
from training.detect import answers
from training.evaluate import held_out_scene, judge
from training.export import read_weights, write_weights
from training.letterbox import letterbox
from training.network import Network, build
from training.scenes import Assets, Thing
from training.sprites import PICTURE_SIZES, load_sheet

THRESHOLD, IOU = 0.5, 0.45
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
    torch.set_num_threads(arguments.threads)
    network = build(arguments.cfg).eval()
    read_weights(network, arguments.weights)
    cases = _cases(arguments, network.side)
    scores = []
    for shift in SHIFTS:
        shift_objectness(network, shift)
        scores.append(_f1(network, cases))
        shift_objectness(network, -shift)
        print(f"shift {shift:.2f}: F1 {scores[-1]:.4f}", flush=True)
    best = SHIFTS[int(np.argmax(scores))]
    shift_objectness(network, best)
    write_weights(network, arguments.out, arguments.seen)
    print(f"wrote {arguments.out} with objectness shifted by {best}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="training.calibrate", description=__doc__)
    parser.add_argument("--packages", type=Path, required=True, help="npm's node_modules folder")
    parser.add_argument("--lomiri", type=Path, default=Path("/usr/share/backgrounds"))
    parser.add_argument("--cfg", type=Path, default=Path("models/demo/yolov3-tiny-emoji.cfg"))
    parser.add_argument("--weights", type=Path, required=True, help="as training.train wrote them")
    parser.add_argument("--out", type=Path, default=Path("models/demo/yolov3-tiny-emoji.weights"))
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=2_000_000)
    parser.add_argument("--seen", type=int, default=128_000, help="pictures trained on")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def _cases(arguments: argparse.Namespace, side: int) -> list[Case]:
    photos = load_photos(TRAINING_PHOTOS, arguments.lomiri, 2048)
    assets = Assets(load_sheet(arguments.packages, SEEN, PICTURE_SIZES), photos)
    cases = []
    for index in range(arguments.scenes):
        scene = held_out_scene(assets, arguments.seed, index)
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
        found = answers(network, case.tensor, case.shape, THRESHOLD, IOU)
        for label in range(len(NAMES)):
            mine = [answer for answer in found if answer.label == label]
            things = [thing for thing in case.things if thing.label == label]
            right += sum(mark.right for mark in judge(mine, things))
        given, wanted = given + len(found), wanted + len(case.things)
    return 2 * right / max(1, given + wanted)


if __name__ == "__main__":
    main()
