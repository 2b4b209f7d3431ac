"""Compare the exported weights in Darknet and in PyTorch, on the pictures of client/images."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from training.classes import DEMO_CFG, NAMES
from training.darknet import Darknet
from training.detect import Found, detect
from training.evaluate import count_right
from training.export import read_weights
from training.network import build
from training.scenes import Thing

IMAGES = Path("client/images")
THRESHOLD, IOU = 0.5, 0.45


def main() -> None:
    """Print, for each picture, Darknet's hits and how far PyTorch's detections differ."""
    argparse.ArgumentParser(prog="training.check", description=__doc__).parse_args()
    weights = DEMO_CFG.with_suffix(".weights")
    network = build(DEMO_CFG).eval()
    read_weights(network, weights)
    darknet = Darknet(DEMO_CFG, weights)
    truth = json.loads((IMAGES / "truth.json").read_text(encoding="utf-8"))
    hits = wrong = objects = 0
    for file, entry in truth.items():
        picture = _upright(IMAGES / file)
        things = [_thing(label, box) for label, box in entry["objects"]]
        found = darknet.detect(picture, THRESHOLD, IOU)
        gaps = difference(found, detect(network, picture, THRESHOLD, IOU))
        right = count_right(found, things)
        hits, wrong, objects = hits + right, wrong + len(found) - right, objects + len(things)
        print(f"{file}: {right}/{len(things)} found, {len(found) - right} wrong; PyTorch {gaps}")
    print(f"all: {hits}/{objects} = {hits / objects:.1%} found, {wrong} wrong detections")


def _upright(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))


def _thing(label: str, box: list[float]) -> Thing:
    x, y, width, height = box
    corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return Thing(NAMES.index(label), corners)


def difference(found: list[Found], others: list[Found]) -> str:
    """Describe the largest difference of two lists of detections, in score and in px."""
    if [one.label for one in found] != [one.label for one in others]:
        return f"differs: {len(found)} and {len(others)} detections"
    pairs = list(zip(found, others, strict=True))
    score = max((abs(a.score - b.score) for a, b in pairs), default=0.0)
    px = max((abs(p - q) for a, b in pairs for p, q in zip(a.box, b.box, strict=True)), default=0.0)
    return f"agrees to {score:.1e} in score and {px:.1e} px"


if __name__ == "__main__":
    main()
