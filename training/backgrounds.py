"""Backgrounds of scenes: crops of free photographs, and procedural pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]  # [h, w, 3] RGB
Rng = np.random.Generator


# Where Debian's package lomiri-wallpapers-16.04 installs its photographs.
LOMIRI = Path("/usr/share/backgrounds")


@dataclass(frozen=True)
class Photo:
    """A photograph: its file, relative to its root, and the licence it is under."""

    root: str  # "skimage", "sklearn" or "lomiri"
    file: str
    licence: str
    author: str


TRAINING_PHOTOS: tuple[Photo, ...] = (
    Photo("lomiri", "aitzgorri_by_Aitzol_Berasategi.jpg", "CC-BY-4.0", "Aitzol Berasategi"),
    Photo("lomiri", "life_by_Aitzol_Berasategi.jpg", "CC-BY-4.0", "Aitzol Berasategi"),
    Photo("lomiri", "sunset_by_Aitzol_Berasategi.jpg", "CC-BY-4.0", "Aitzol Berasategi"),
    Photo("lomiri", "Picture_0B_by_freespace.jpg", "CC-BY-4.0", 'Trevor "Freespace"'),
    Photo("lomiri", "Picture_1A_by_freespace.jpg", "CC-BY-4.0", 'Trevor "Freespace"'),
    Photo("lomiri", "umang_by_Abhishek_Mudgal.jpg", "CC-BY-4.0", "Abhishek Mudgal"),
    Photo("sklearn", "flower.jpg", "CC-BY-2.0", "vultilion"),
    Photo("skimage", "brick.png", "CC0-1.0", "CC0Textures"),
    Photo("skimage", "grass.png", "CC0-1.0", "linolafett"),
    Photo("skimage", "gravel.png", "CC0-1.0", "CC0Textures"),
    Photo("skimage", "coffee.png", "CC0-1.0", "Rachel Michetti"),
    Photo("skimage", "hubble_deep_field.jpg", "public domain", "NASA"),
    Photo("skimage", "retina.jpg", "CC0-1.0", "Mikael Haggstrom"),
)
HELD_OUT_PHOTOS: tuple[Photo, ...] = (
    Photo("lomiri", "picosdeeuropa_by_Aitzol_Berasategi.jpg", "CC-BY-4.0", "Aitzol Berasategi"),
    Photo("lomiri", "seeding_by_Clements_Engelhardt.jpg", "CC0-1.0", "Clemens Engelhardt"),
    Photo("lomiri", "Wine_by_Jakkub_Mede.jpg", "CC-BY-4.0", "Jakub Mede"),
    Photo("sklearn", "china.jpg", "CC-BY-2.0", "danielbuechele"),
)


def load_photos(photos: tuple[Photo, ...], longest: int) -> tuple[Picture, ...]:
    """Read photographs as RGB, shrunk to at most `longest` px on the longer side."""
    return tuple(_shrink(_read(_path(photo)), longest) for photo in photos)


def _path(photo: Photo) -> Path:
    if photo.root == "lomiri":
        return LOMIRI / photo.file
    folder = "data" if photo.root == "skimage" else "datasets/images"
    return Path(str(files(photo.root))) / folder / photo.file


def _read(path: Path) -> Picture:
    bgr = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ValueError(f"{path}: OpenCV cannot decode it")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def _shrink(picture: Picture, longest: int) -> Picture:
    height, width = picture.shape[:2]
    scale = min(1.0, longest / max(height, width))
    shape = (round(width * scale), round(height * scale))
    return cv2.resize(picture, shape, interpolation=cv2.INTER_AREA)


def photo_background(rng: Rng, photo: Picture, width: int, height: int) -> Picture:
    """Cut a random part of a photograph and scale it to width x height."""
    photo_height, photo_width = photo.shape[:2]
    largest = min(photo_width / width, photo_height / height)
    scale = largest * rng.uniform(0.35, 1.0)
    cut_width, cut_height = max(2, int(width * scale)), max(2, int(height * scale))
    x = int(rng.integers(0, photo_width - cut_width + 1))
    y = int(rng.integers(0, photo_height - cut_height + 1))
    cut = photo[y : y + cut_height, x : x + cut_width]
    if rng.random() < 0.5:
        cut = cut[:, ::-1]
    method = cv2.INTER_AREA if scale > 1 and rng.random() < 0.6 else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(cut), (width, height), interpolation=method)


def procedural_background(rng: Rng, width: int, height: int) -> Picture:
    """Draw a background of a random kind."""
    kinds: tuple[Callable[[Rng, int, int], Picture], ...] = (
        _gradient,
        _clouds,
        _clouds,
        _stripes,
        _polygons,
        _city,
        _checks,
    )
    return kinds[int(rng.integers(len(kinds)))](rng, width, height)


def _colour(rng: Rng) -> tuple[int, int, int]:
    red, green, blue = rng.integers(0, 256, 3)
    return int(red), int(green), int(blue)


def _gradient(rng: Rng, width: int, height: int) -> Picture:
    corners = rng.integers(0, 256, (2, 2, 3)).astype(np.float32)
    picture = cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR)
    return picture.astype(np.uint8)


def _clouds(rng: Rng, width: int, height: int) -> Picture:
    """Sum octaves of smooth noise, then mix two or three colours by it."""
    noise = np.zeros((height, width), np.float32)
    cells, weight, total = int(rng.integers(2, 9)), 1.0, 0.0
    decay = rng.uniform(0.4, 0.85)
    for _ in range(int(rng.integers(1, 6))):
        grid = rng.random((cells, cells), np.float32)
        noise += weight * cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR)
        total += weight
        cells, weight = min(2 * cells, 200), weight * decay
    level = np.clip((noise / total * 1.6 - 0.3) * 255, 0, 255).astype(np.uint8)
    ramp = np.linspace(0, 1, 256)[:, None]
    stops = rng.integers(0, 256, (3, 3))
    lower = stops[0] + (stops[1] - stops[0]) * np.minimum(2 * ramp, 1)
    table = (lower + (stops[2] - stops[1]) * np.maximum(2 * ramp - 1, 0)).clip(0, 255)
    return table.astype(np.uint8)[level]


def _stripes(rng: Rng, width: int, height: int) -> Picture:
    picture = np.full((height, width, 3), _colour(rng), np.uint8)
    side = width + height
    step = max(4, int(side * rng.uniform(0.015, 0.1)))
    slope = rng.uniform(-1.2, 1.2)
    colour, thickness = _colour(rng), max(1, int(step * rng.uniform(0.15, 0.6)))
    upright = rng.random() < 0.5
    for start in range(-side, 2 * side, step):
        end = int(start + slope * side)
        points = ((start, 0), (end, side)) if upright else ((0, start), (side, end))
        cv2.line(picture, points[0], points[1], colour, thickness, cv2.LINE_AA)
    return picture


def _polygons(rng: Rng, width: int, height: int) -> Picture:
    picture = _gradient(rng, width, height)
    for _ in range(int(rng.integers(3, 25))):
        centre = rng.uniform((0, 0), (width, height))
        radius = max(width, height) * rng.uniform(0.02, 0.25)
        if rng.random() < 0.35:
            cv2.circle(picture, centre.astype(int).tolist(), int(radius), _colour(rng), -1)
            continue
        corners = centre + rng.normal(0, radius, (int(rng.integers(3, 7)), 2))
        cv2.fillPoly(picture, [corners.astype(np.int32)], _colour(rng), cv2.LINE_AA)
    return picture


def _city(rng: Rng, width: int, height: int) -> Picture:
    """Draw a sky, houses with windows, and a road."""
    picture = _gradient(rng, width, height)
    ground = int(height * rng.uniform(0.55, 0.9))
    x = 0
    while x < width:
        house = int(width * rng.uniform(0.06, 0.25)) + 2
        top = int(height * rng.uniform(0.05, 0.5))
        cv2.rectangle(picture, (x, top), (x + house, ground), _colour(rng), -1)
        _windows(rng, picture, (x, top, x + house, ground))
        x += house + int(width * rng.uniform(-0.02, 0.06))
        x = max(x, 1)
    cv2.rectangle(picture, (0, ground), (width, height), _colour(rng), -1)
    return picture


def _windows(rng: Rng, picture: Picture, house: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = house
    step = max(6, int((right - left) / rng.integers(2, 6)))
    colour = _colour(rng)
    for x in range(left + step // 4, right - step // 2, step):
        for y in range(top + step // 4, bottom - step // 2, step):
            cv2.rectangle(picture, (x, y), (x + step // 2, y + step // 2), colour, -1)


def _checks(rng: Rng, width: int, height: int) -> Picture:
    """Tile a small random pattern of two or more colours."""
    rows, columns = (int(n) for n in rng.integers(2, 7, 2))
    palette = rng.integers(0, 256, (int(rng.integers(2, 5)), 3))
    tile = palette[rng.integers(0, len(palette), (rows, columns))].astype(np.uint8)
    size = max(3, int(max(width, height) * rng.uniform(0.01, 0.08)))
    tile = np.repeat(np.repeat(tile, size, 0), size, 1)
    repeats = (height // tile.shape[0] + 1, width // tile.shape[1] + 1, 1)
    return np.ascontiguousarray(np.tile(tile, repeats)[:height, :width])
