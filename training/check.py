"""Check the exported weights on the client's pictures with Darknet itself.

Run `python -m training.check --help`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from training.classes import NAMES
from training.darknet import Darknet
from training.detect import Found, detect
from training.evaluate import judge
from training.export import read_weights
from training.network import build
from training.scenes import Thing

THRESHOLD, IOU = 0.5, 0.45


def main() -> None:
    """Compare Darknet's answers with PyTorch's and with the truth."""
    arguments = _arguments()
    cfg = arguments.model / "yolov3-tiny-emoji.cfg"
    weights = arguments.model / "yolov3-tiny-emoji.weights"
    network = build(cfg).eval()
    read_weights(network, weights)
    darknet = Darknet(cfg, weights)
    truth = json.loads((arguments.images / "truth.json").read_text(encoding="utf-8"))
    hits = wrong = objects = 0
    for file, entry in truth.items():
        picture = _upright(arguments.images / file)
        things = [_thing(label, box) for label, box in entry["objects"]]
        found = darknet.detect(picture, THRESHOLD, IOU)
        gaps = difference(found, detect(network, picture, THRESHOLD, IOU))
        right = _right(found, things)
        hits, wrong, objects = hits + right, wrong + len(found) - right, objects + len(things)
        print(f"{file}: {right}/{len(things)} found, {len(found) - right} wrong; PyTorch {gaps}")
    print(f"all: {hits}/{objects} = {hits / objects:.1%} found, {wrong} wrong answers")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="training.check", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/demo"))
    parser.add_argument("--images", type=Path, default=Path("client/images"))
    return parser.parse_args()


def _upright(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))


def _thing(label: str, box: list[float]) -> Thing:
    x, y, width, height = box
    corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return Thing(NAMES.index(label), corners)


def _right(found: list[Found], things: list[Thing]) -> int:
    """Count answers that are right, one for each object at most."""
    return sum(
        mark.right
        for label in range(len(NAMES))
        for mark in judge(
            [answer for answer in found if answer.label == label],
            [thing for thing in things if thing.label == label],
        )
    )


def difference(found: list[Found], others: list[Found]) -> str:
    """Say how far two lists of answers are apart, in score and in px."""
    if [answer.label for answer in found] != [answer.label for answer in others]:
        return f"differs: {len(found)} and {len(others)} answers"
    pairs = list(zip(found, others, strict=True))
    score = max((abs(a.score - b.score) for a, b in pairs), default=0.0)
    px = max((abs(p - q) for a, b in pairs for p, q in zip(a.box, b.box, strict=True)), default=0.0)
    return f"agrees to {score:.1e} in score and {px:.1e} px"


if __name__ == "__main__":
    main()
