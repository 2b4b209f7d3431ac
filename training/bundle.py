"""Complete the model's folder: names, golden picture and model.yaml.

Run `python -m training.bundle --help`.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from training.backgrounds import HELD_OUT_PHOTOS, load_photos
from training.classes import NAMES, SEEN
from training.detect import Found, detect
from training.evaluate import judge
from training.export import read_weights
from training.network import Network, build
from training.scenes import Assets, Scene, draw_scene
from training.sprites import PICTURE_SIZES, load_sheet

NAME = "yolov3-tiny-emoji"
THRESHOLD, IOU = 0.5, 0.45
GOLDEN_PHOTO = 1  # the dandelions, which are CC0
CLEAR_SCORE = 0.85  # no answer on the golden picture may score between UNCLEAR_SCORE and this
UNCLEAR_SCORE = 0.2


def main() -> None:
    """Find a clear-cut golden scene and write what belongs beside the weights."""
    arguments = _arguments()
    cv2.setNumThreads(0)
    torch.set_num_threads(arguments.threads)
    folder: Path = arguments.folder
    (folder / f"{NAME}.names").write_text("\n".join(NAMES) + "\n", encoding="utf-8")
    network = build(folder / f"{NAME}.cfg").eval()
    read_weights(network, folder / f"{NAME}.weights")
    photos = load_photos(HELD_OUT_PHOTOS, arguments.lomiri, 2048)
    sheet = load_sheet(arguments.packages, SEEN, PICTURE_SIZES)
    assets = Assets(sheet, (photos[GOLDEN_PHOTO],), photo_share=1.0)
    scene, expected = find_golden(network, assets, arguments.seed)
    Image.fromarray(scene.picture).save(folder / "golden.png", "PNG", optimize=True)
    (folder / "model.yaml").write_text(manifest(folder, expected), encoding="utf-8")
    print(f"golden picture with {len(expected)} answers; wrote {folder / 'model.yaml'}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="training.bundle", description=__doc__)
    parser.add_argument("--packages", type=Path, required=True, help="npm's node_modules folder")
    parser.add_argument("--lomiri", type=Path, default=Path("/usr/share/backgrounds"))
    parser.add_argument("--folder", type=Path, default=Path("models/demo"))
    parser.add_argument("--seed", type=int, default=4_000_000)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def find_golden(network: Network, assets: Assets, seed: int) -> tuple[Scene, list[Found]]:
    """Return the first scene of 3 or 4 objects whose answers are right and clear-cut."""
    for attempt in range(500):
        rng = np.random.default_rng([seed, attempt])
        scene = draw_scene(rng, assets, 640, 480, (3, 5))
        found = detect(network, scene.picture, UNCLEAR_SCORE, IOU)
        if len(scene.things) >= 3 and is_clear(scene, found):
            return scene, found
    raise RuntimeError("no clear-cut scene in 500 attempts")


def is_clear(scene: Scene, found: list[Found]) -> bool:
    """Tell whether the answers are the objects, one for one, each with a high score."""
    if len(found) != len(scene.things) or min(answer.score for answer in found) < CLEAR_SCORE:
        return False
    labels = {thing.label for thing in scene.things}
    marks = [
        mark
        for label in labels
        for mark in judge(
            [answer for answer in found if answer.label == label],
            [thing for thing in scene.things if thing.label == label],
        )
    ]
    return len(marks) == len(scene.things) and all(mark.right for mark in marks)


def manifest(folder: Path, expected: list[Found]) -> str:
    """Return the text of model.yaml."""
    lines = [f"name: {NAME}", 'version: "1"']
    lines += [f"threshold: {THRESHOLD}  # default score threshold"]
    lines += [f"iou: {IOU}  # default overlap of non-maximum suppression", "files:"]
    for suffix in ("cfg", "weights", "names"):
        digest = hashlib.sha256((folder / f"{NAME}.{suffix}").read_bytes()).hexdigest()
        lines.append(f"  {NAME}.{suffix}: sha256:{digest}")
    lines += ["golden:", "  picture: golden.png"]
    lines.append("  expected:  # [label, score, [cx, cy, w, h]] in px of the picture, best first")
    lines += [f"    - {_answer(found)}" for found in expected]
    tolerance = "  tolerance: {px: 8.0, score: 0.05}  # int8 makes the apple 5 px narrower"
    return "\n".join([*lines, tolerance]) + "\n"


def _answer(found: Found) -> str:
    left, top, right, bottom = found.box
    box = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
    numbers = ", ".join(f"{number:.1f}" for number in box)
    return f"[{NAMES[found.label]}, {found.score:.3f}, [{numbers}]]"


if __name__ == "__main__":
    main()
