"""Complete models/demo: names, golden picture and model.yaml."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from training.backgrounds import HELD_OUT_PHOTOS, load_photos
from training.classes import DEMO_CFG, NAMES, SEEN
from training.detect import Found, detect
from training.evaluate import count_right
from training.export import read_weights
from training.network import Network, build
from training.scenes import Assets, Scene, draw_scene
from training.sprites import PICTURE_SIZES, load_sheet

NAME = "yolov3-tiny-emoji"
THRESHOLD, IOU = 0.5, 0.45
GOLDEN_PHOTO = 1  # the dandelions, which are CC0
SEED = 4_000_000
CLEAR_SCORE = 0.85  # no detection in the golden picture scores between UNCLEAR_SCORE and this
UNCLEAR_SCORE = 0.2


def main() -> None:
    """Find a golden scene and write the files beside the weights."""
    arguments = _arguments()
    cv2.setNumThreads(0)
    folder = DEMO_CFG.parent
    (folder / f"{NAME}.names").write_text("\n".join(NAMES) + "\n", encoding="utf-8")
    network = build(folder / f"{NAME}.cfg").eval()
    read_weights(network, folder / f"{NAME}.weights")
    photos = load_photos(HELD_OUT_PHOTOS, 2048)
    sheet = load_sheet(arguments.packages, SEEN, PICTURE_SIZES)
    assets = Assets(sheet, (photos[GOLDEN_PHOTO],), photo_share=1.0)
    scene, expected = find_golden(network, assets)
    Image.fromarray(scene.picture).save(folder / "golden.png", "PNG", optimize=True)
    (folder / "model.yaml").write_text(manifest(folder, expected), encoding="utf-8")
    print(f"golden picture with {len(expected)} detections; wrote {folder / 'model.yaml'}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="training.bundle", description=__doc__)
    parser.add_argument("--packages", type=Path, required=True, help="npm's node_modules folder")
    return parser.parse_args()


def find_golden(network: Network, assets: Assets) -> tuple[Scene, list[Found]]:
    """Return the first scene of 3 or 4 objects whose detections are right and unambiguous."""
    for attempt in range(500):
        rng = np.random.default_rng([SEED, attempt])
        scene = draw_scene(rng, assets, 640, 480, (3, 5))
        found = detect(network, scene.picture, UNCLEAR_SCORE, IOU)
        if len(scene.things) >= 3 and is_clear(scene, found):
            return scene, found
    raise RuntimeError("no unambiguous scene in 500 attempts")


def is_clear(scene: Scene, found: list[Found]) -> bool:
    """Return whether each object is detected exactly once, with a high score."""
    if len(found) != len(scene.things) or min(one.score for one in found) < CLEAR_SCORE:
        return False
    return count_right(found, scene.things) == len(scene.things)


def manifest(folder: Path, expected: list[Found]) -> str:
    """Return the text of model.yaml."""
    lines = [f"name: {NAME}", 'version: "1"']
    lines += [f"threshold: {THRESHOLD}  # default score threshold"]
    lines.append(f"iou: {IOU}  # default overlap of non-maximum suppression")
    lines += ["resize: letterbox  # how training/ prepares its scenes", "files:"]
    for suffix in ("cfg", "weights", "names"):
        digest = hashlib.sha256((folder / f"{NAME}.{suffix}").read_bytes()).hexdigest()
        lines.append(f"  {NAME}.{suffix}: sha256:{digest}")
    lines += ["golden:", "  picture: golden.png"]
    lines.append("  expected:  # [label, score, [cx, cy, w, h]] in px of the picture, best first")
    lines += [f"    - {_detection(found)}" for found in expected]
    tolerance = "  tolerance: {px: 8.0, score: 0.05}  # int8 makes the apple 5 px narrower"
    return "\n".join([*lines, tolerance]) + "\n"


def _detection(found: Found) -> str:
    left, top, right, bottom = found.box
    box = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
    numbers = ", ".join(f"{number:.1f}" for number in box)
    return f"[{NAMES[found.label]}, {found.score:.3f}, [{numbers}]]"


if __name__ == "__main__":
    main()
