"""Draw what a camera sees on many days: parts of the scenes in client/images, with their labels.

    python docs/labs/07-pictures.py drift/normal --count 240 --seed 1
    python docs/labs/07-pictures.py drift/fog --count 240 --seed 2 --fog

Each picture gets a .txt file with Darknet's labels, which `elastic-yolo verify --pictures` reads.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parents[2]
SCENES = ROOT / "client" / "images"
NAMES = (ROOT / "models" / "demo" / "yolov3-tiny-emoji.names").read_text().split("\n")
SIDE = 416
# What is left of an object at the border must be this part of it, or it has no label.
LEAST = 0.4
# Light that the fog scatters into the camera, as a part of white.
AIRLIGHT = 0.85

Scene = tuple[Image.Image, list[tuple[int, list[float]]]]
"""A picture, and of each object the number of its class and its box as left, top, right, bottom."""


def main() -> None:
    """Draw the pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=240)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fog", action="store_true", help="fog of changing density")
    parser.add_argument(
        "--light", type=float, default=1.0, help="1.4: a camera with brighter pictures"
    )
    options = parser.parse_args()
    options.folder.mkdir(parents=True)
    scenes = read_scenes()
    # With the same seed, the same parts of the scenes: with fog or without.
    rng, fog_rng = (np.random.default_rng([options.seed, kind]) for kind in (0, 1))
    for number in range(options.count):
        picture, labels = see(rng, *scenes[number % len(scenes)])
        pixels = np.asarray(picture, np.float32) / 255 * options.light
        if options.fog:
            pixels = add_fog(fog_rng, pixels)
        target = options.folder / f"{number:04d}.jpg"
        Image.fromarray((pixels.clip(0, 1) * 255).astype(np.uint8)).save(target, quality=90)
        target.with_suffix(".txt").write_text("".join(labels))
    print(f"{options.count} pictures in {options.folder}")  # noqa: T201


def read_scenes() -> list[Scene]:
    """Return the scenes whose objects are known."""
    scenes = []
    for name, truth in json.loads((SCENES / "truth.json").read_text()).items():
        picture = ImageOps.exif_transpose(Image.open(SCENES / name)).convert("RGB")
        picture.thumbnail((1000, 1000))
        scale = picture.width / truth["width"]
        objects = [
            (
                NAMES.index(label),
                [scale * one for one in (x - w / 2, y - h / 2, x + w / 2, y + h / 2)],
            )
            for label, (x, y, w, h) in truth["objects"]
        ]
        scenes.append((picture, objects))
    return scenes


def see(
    rng: np.random.Generator, picture: Image.Image, objects: list[tuple[int, list[float]]]
) -> tuple[Image.Image, list[str]]:
    """Return a square part of a scene under a little more or less light, and its labels."""
    side = int(min(picture.size) * rng.uniform(0.75, 1))
    left = int(rng.integers(picture.width - side + 1))
    top = int(rng.integers(picture.height - side + 1))
    part = picture.crop((left, top, left + side, top + side)).resize((SIDE, SIDE))
    labels = []
    for number, (x1, y1, x2, y2) in objects:
        a, c = (np.clip([x1 - left, x2 - left], 0, side) / side).tolist()
        b, d = (np.clip([y1 - top, y2 - top], 0, side) / side).tolist()
        if (c - a) * (d - b) * side**2 >= LEAST * (x2 - x1) * (y2 - y1):
            labels.append(f"{number} {(a + c) / 2:.6f} {(b + d) / 2:.6f} {c - a:.6f} {d - b:.6f}\n")
    light = rng.uniform(0.85, 1.15)
    return part.point(lambda value: min(255, value * light)), labels


def add_fog(rng: np.random.Generator, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Let a part of the light through, less from above, where the distance is larger."""
    near = rng.uniform(0.35, 0.55)
    through = np.linspace(0.6 * near, near, len(pixels))[:, np.newaxis, np.newaxis]
    return pixels * through + AIRLIGHT * (1 - through)


if __name__ == "__main__":
    main()
