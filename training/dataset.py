"""Write held-out scenes as a Darknet data set: pictures with label files."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from training.backgrounds import HELD_OUT_PHOTOS, load_photos
from training.classes import SEEN, UNSEEN
from training.scenes import Assets, Scene, draw_scene
from training.sprites import PICTURE_SIZES, load_sheet

FAMILIES = {"seen": SEEN, "unseen": UNSEEN}
HELD_OUT_SEED = 1_000_003
SCENES = 1000


def main() -> None:
    """Write each scene as a pair of files: 000000.png and 000000.txt."""
    arguments = _arguments()
    cv2.setNumThreads(0)
    assets = held_out_assets(arguments.packages, "seen")
    arguments.out.mkdir(parents=True, exist_ok=True)
    for index in range(SCENES):
        scene = held_out_scene(assets, HELD_OUT_SEED, index)
        path = arguments.out / f"{index:06}.png"
        cv2.imwrite(str(path), cv2.cvtColor(scene.picture, cv2.COLOR_RGB2BGR))
        path.with_suffix(".txt").write_text(labels(scene), encoding="ascii")
        if (index + 1) % 100 == 0:
            print(f"{index + 1}/{SCENES} scenes", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="training.dataset", description=__doc__)
    parser.add_argument("--packages", type=Path, required=True, help="npm's node_modules folder")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    return parser.parse_args()


def held_out_assets(packages: Path, family: str) -> Assets:
    """Load a family's drawings and the photographs that training never sees."""
    photos = load_photos(HELD_OUT_PHOTOS, 2048)
    return Assets(load_sheet(packages, FAMILIES[family], PICTURE_SIZES), photos)


def held_out_scene(assets: Assets, seed: int, index: int) -> Scene:
    """Draw a scene whose shorter side has 240 to 960 px and whose aspect is 1:2 to 2:1."""
    rng = np.random.default_rng([seed, index])
    shorter = int(240 * 4 ** rng.random())
    longer = int(shorter * 2 ** rng.random())
    width, height = (longer, shorter) if rng.random() < 0.6 else (shorter, longer)
    return draw_scene(rng, assets, width, height)


def labels(scene: Scene) -> str:
    """Return Darknet's label file: class, centre x, centre y, width, height as fractions."""
    height, width = scene.picture.shape[:2]
    return "".join(
        f"{thing.label} {(x0 + x1) / 2 / width:.7f} {(y0 + y1) / 2 / height:.7f} "
        f"{(x1 - x0) / width:.7f} {(y1 - y0) / height:.7f}\n"
        for thing in scene.things
        for x0, y0, x1, y1 in [thing.box]
    )


if __name__ == "__main__":
    main()
