"""Rasterise emoji drawings (SVG) into RGBA sprites of several sizes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import resvg_py
from numpy.typing import NDArray

from training.classes import CLASSES, DISTRACTORS, Family

TRAINING_SIZES = (256, 128, 64, 32)
PICTURE_SIZES = (1024, 512, 256, 128, 64, 32)


@dataclass(frozen=True)
class Sprite:
    """One drawing; `levels` are [h, w, 4] uint8 RGBA with premultiplied alpha, largest first."""

    label: int
    family: str
    icon: str
    levels: tuple[NDArray[np.uint8], ...]

    def level_for(self, side: float) -> NDArray[np.uint8]:
        """Return the smallest level whose longer side is at least `side` px (or the largest)."""
        fitting = [level for level in self.levels if max(level.shape[:2]) >= side]
        return fitting[-1] if fitting else self.levels[0]


@dataclass(frozen=True)
class Sheet:
    """Sprites by class, and drawings of no class. `by_class[label]` is never empty."""

    by_class: tuple[tuple[Sprite, ...], ...]
    distractors: tuple[Sprite, ...]


def load_sheet(packages: Path, families: Iterable[Family], sizes: tuple[int, ...]) -> Sheet:
    """Rasterise all drawings of the families below `packages` (an npm `node_modules` folder)."""
    sets = [(family.name, _read_icons(packages, family)) for family in families]
    by_class = tuple(
        tuple(_sprites(sets, label, icons, sizes)) for label, icons in enumerate(CLASSES.values())
    )
    for name, sprites in zip(CLASSES, by_class, strict=True):
        if not sprites:
            raise ValueError(f"no drawing of class {name!r} in {[name for name, _ in sets]}")
    return Sheet(by_class, tuple(_sprites(sets, -1, DISTRACTORS, sizes)))


def _read_icons(packages: Path, family: Family) -> dict[str, Any]:
    path = packages / family.package / "icons.json"
    return json.loads(path.read_text(encoding="utf-8"))


def _sprites(
    sets: list[tuple[str, dict[str, Any]]],
    label: int,
    icons: Iterable[str],
    sizes: tuple[int, ...],
) -> Iterable[Sprite]:
    for icon in icons:
        for family, icon_set in sets:
            svg = svg_of(icon_set, icon)
            if svg is not None:
                yield Sprite(label, family, icon, tuple(_levels(svg, sizes)))


def svg_of(icon_set: dict[str, Any], icon: str) -> str | None:
    """Return the SVG text of one icon, following aliases; None where the set lacks it."""
    name = icon
    while name not in icon_set["icons"]:
        alias = icon_set.get("aliases", {}).get(name)
        if alias is None:
            return None
        name = alias["parent"]
    entry = icon_set["icons"][name]
    width = entry.get("width", icon_set.get("width", 16))
    height = entry.get("height", icon_set.get("height", 16))
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{width}" height="{height}" viewBox="0 0 {width} {height}">{entry["body"]}</svg>'
    )


def _levels(svg: str, sizes: tuple[int, ...]) -> Iterable[NDArray[np.uint8]]:
    """Render once, cut to the drawn extent, then shrink by area so that each level is smooth."""
    largest = _crop(_render(svg, sizes[0]))
    height, width = largest.shape[:2]
    for size in sizes:
        scale = size / max(height, width)
        shape = (max(1, round(width * scale)), max(1, round(height * scale)))
        yield cv2.resize(largest, shape, interpolation=cv2.INTER_AREA)


def _render(svg: str, size: int) -> NDArray[np.uint8]:
    """Return [size, size, 4] uint8 RGBA, premultiplied."""
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size))
    bgra = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    if bgra.shape[2] == 3:
        bgra = cv2.cvtColor(bgra, cv2.COLOR_BGR2BGRA)
    rgba = cv2.cvtColor(bgra, cv2.COLOR_BGRA2RGBA).astype(np.uint16)
    rgba[..., :3] = (rgba[..., :3] * rgba[..., 3:] + 127) // 255
    return rgba.astype(np.uint8)


def _crop(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    x, y, width, height = cv2.boundingRect((rgba[..., 3] > 96).astype(np.uint8))
    return np.ascontiguousarray(rgba[y : y + height, x : x + width])
