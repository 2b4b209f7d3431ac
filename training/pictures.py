"""Draw the sample pictures of client/images, their ground truth, and pictures for calibration."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from training.backgrounds import HELD_OUT_PHOTOS, Picture, load_photos
from training.classes import NAMES, SEEN
from training.scenes import Assets, Scene, draw_scene
from training.sprites import PICTURE_SIZES, Sheet, load_sheet

OUT = Path("client/images")
SEED = 3_000_000
CALIBRATION = OUT / "calibration"
CALIBRATION_SEED = 4_000_000
CALIBRATION_PICTURES = 50
FEWEST, MOST = 2, 7  # objects in a picture
SMALLEST = 0.10  # longer side of an object / shorter side of the picture


@dataclass(frozen=True)
class Recipe:
    """One file: its upright size in px, its photograph (None: procedural), its encoder."""

    file: str
    width: int
    height: int
    photo: int | None
    save: Callable[[Picture, Path], None]


def main() -> None:
    """Write every picture and truth.json."""
    arguments = _arguments()
    cv2.setNumThreads(0)
    sheet = load_sheet(arguments.packages, SEEN, PICTURE_SIZES)
    photos = load_photos(HELD_OUT_PHOTOS, 6000)
    write_samples(sheet, photos)
    write_calibration(sheet, photos)


def write_samples(sheet: Sheet, photos: tuple[Picture, ...]) -> None:
    """Write the sample pictures and their ground truth."""
    truth = {}
    for number, recipe in enumerate(RECIPES):
        scene = _draw(sheet, photos, recipe, SEED + number)
        recipe.save(scene.picture, OUT / recipe.file)
        truth[recipe.file] = _truth(scene)
        print(f"{recipe.file} {recipe.width}x{recipe.height}: {len(scene.things)} objects")
    text = json.dumps(truth, indent=1)
    (OUT / "truth.json").write_text(text + "\n", encoding="utf-8")


def write_calibration(sheet: Sheet, photos: tuple[Picture, ...]) -> None:
    """Write small scenes, each with another photograph or a procedural background."""
    CALIBRATION.mkdir(exist_ok=True)
    for number in range(CALIBRATION_PICTURES):
        width, height = ((480, 360), (416, 416), (360, 480), (512, 288))[number // 5 % 4]
        photo = (*range(len(photos)), None)[number % 5]
        recipe = Recipe(f"{number + 1:02}.jpg", width, height, photo, _jpeg(88))
        scene = _draw(sheet, photos, recipe, CALIBRATION_SEED + number)
        recipe.save(scene.picture, CALIBRATION / recipe.file)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="training.pictures", description=__doc__)
    parser.add_argument("--packages", type=Path, required=True, help="npm's node_modules folder")
    return parser.parse_args()


def _draw(sheet: Sheet, photos: tuple[Picture, ...], recipe: Recipe, seed: int) -> Scene:
    """Draw scenes until one has FEWEST to MOST visible objects."""
    chosen = () if recipe.photo is None else (photos[recipe.photo],)
    assets = Assets(sheet, chosen, photo_share=1.0, smallest=SMALLEST)
    for attempt in range(100):
        rng = np.random.default_rng([seed, attempt])
        scene = draw_scene(rng, assets, recipe.width, recipe.height, (FEWEST, MOST + 1))
        if FEWEST <= len(scene.things) <= MOST:
            return scene
    raise RuntimeError(f"{recipe.file}: no scene of {FEWEST} to {MOST} objects in 100 attempts")


def _truth(scene: Scene) -> dict[str, object]:
    objects = [
        [NAMES[thing.label], [(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0]]
        for thing in scene.things
        for x0, y0, x1, y1 in [thing.box]
    ]
    height, width = scene.picture.shape[:2]
    return {"width": width, "height": height, "objects": objects}


def _jpeg(quality: int, *, progressive: bool = False) -> Callable[[Picture, Path], None]:
    def save(picture: Picture, path: Path) -> None:
        Image.fromarray(picture).save(path, "JPEG", quality=quality, progressive=progressive)

    return save


def _turned_jpeg(picture: Picture, path: Path) -> None:
    """Store the picture turned left, with EXIF orientation 6: viewers turn it right again."""
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.fromarray(picture).transpose(Image.Transpose.ROTATE_90)
    turned.save(path, "JPEG", quality=90, exif=exif)


def _png(picture: Picture, path: Path) -> None:
    Image.fromarray(picture).save(path, "PNG", optimize=True)


def _round_png(picture: Picture, path: Path) -> None:
    """Store with alpha: the corners are rounded off, all else is opaque."""
    height, width = picture.shape[:2]
    radius = min(height, width) // 12
    alpha = np.zeros((height, width), np.uint8)
    cv2.rectangle(alpha, (radius, 0), (width - radius, height), 255, -1)
    cv2.rectangle(alpha, (0, radius), (width, height - radius), 255, -1)
    for x in (radius, width - radius - 1):
        for y in (radius, height - radius - 1):
            cv2.circle(alpha, (x, y), radius, 255, -1, cv2.LINE_AA)
    Image.fromarray(np.dstack([picture, alpha])).save(path, "PNG", optimize=True)


def _webp(*, lossless: bool) -> Callable[[Picture, Path], None]:
    def save(picture: Picture, path: Path) -> None:
        Image.fromarray(picture).save(path, "WEBP", quality=85, lossless=lossless)

    return save


def _bmp(picture: Picture, path: Path) -> None:
    Image.fromarray(picture).save(path, "BMP")


# Photographs: 0 mountains, 1 dandelions, 2 living room (portrait), 3 pagoda.
RECIPES: tuple[Recipe, ...] = (
    Recipe("scene-01.jpg", 640, 480, 0, _jpeg(90)),
    Recipe("scene-02.jpg", 1280, 720, 1, _jpeg(88)),
    Recipe("scene-03.jpg", 600, 400, 3, _jpeg(85, progressive=True)),
    Recipe("scene-04.png", 512, 384, 0, _png),
    Recipe("scene-05.png", 480, 480, 2, _round_png),
    Recipe("scene-06.webp", 800, 600, 0, _webp(lossless=False)),
    Recipe("scene-07.webp", 400, 300, 1, _webp(lossless=True)),
    Recipe("scene-08.jpg", 720, 960, 2, _turned_jpeg),
    Recipe("scene-09.jpg", 4000, 3000, 1, _jpeg(80)),
    Recipe("scene-10.bmp", 300, 200, 3, _bmp),
    Recipe("scene-11.jpg", 540, 960, 2, _jpeg(90)),
    Recipe("scene-12.jpg", 1920, 1080, 0, _jpeg(85)),
    Recipe("scene-13.jpg", 1024, 768, None, _jpeg(90)),
    Recipe("scene-14.png", 640, 360, None, _png),
    Recipe("scene-15.webp", 1000, 800, 3, _webp(lossless=False)),
    Recipe("scene-16.jpg", 416, 416, 0, _jpeg(92)),
)


if __name__ == "__main__":
    main()
