"""Draw scenes: emoji on a background, with their boxes. One seed gives one scene."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.backgrounds import Picture, Rng, photo_background, procedural_background
from training.effects import camera, recolour
from training.sprites import Sheet, Sprite

SMALLEST, LARGEST = 0.06, 0.60  # longer side of an object / shorter side of the picture
LEAST_VISIBLE = 0.40  # an object with a smaller visible part is not ground truth
SOLID = 96  # alpha from which a pixel counts as drawn


@dataclass(frozen=True)
class Assets:
    """Sprites and photographs that scenes are composed of."""

    sheet: Sheet
    photos: tuple[Picture, ...]
    photo_share: float = 0.6  # of the backgrounds
    smallest: float = SMALLEST  # longer side of an object / shorter side of the picture


@dataclass(frozen=True)
class Thing:
    """One object: class index and box (left, top, right, bottom) in px of the picture."""

    label: int
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Scene:
    """A picture [h, w, 3] uint8 RGB and the objects in it."""

    picture: Picture
    things: tuple[Thing, ...]


@dataclass(frozen=True)
class _Patch:
    """A drawn sprite [h, w, 4] premultiplied and the picture position of its corner, in px."""

    rgba: NDArray[np.uint8]
    left: int
    top: int


@dataclass(frozen=True)
class _Drawn:
    """An object drawn: its number in the map of owners, and its whole area in px."""

    index: int
    whole: int
    thing: Thing


def draw_scene(
    rng: Rng, assets: Assets, width: int, height: int, count: tuple[int, int] = (1, 8)
) -> Scene:
    """Draw between count[0] and count[1] - 1 objects (and perhaps distractors) on a background."""
    picture = _background(rng, assets, width, height)
    owners = np.zeros((height, width), np.uint8)  # number of the sprite on top, 0: none
    drawn: list[_Drawn] = []
    boxes: list[NDArray[np.float64]] = []
    for index, sprite in enumerate(_choose(rng, assets.sheet, count), start=1):
        patch = _place(rng, sprite, (width, height), boxes, assets.smallest)
        if patch is None:
            continue
        box = _paste(picture, owners, patch, index)
        if box is not None and sprite.label >= 0:
            whole = int((patch.rgba[..., 3] > SOLID).sum())
            drawn.append(_Drawn(index, whole, Thing(sprite.label, box)))
    visible = np.bincount(owners.ravel(), minlength=256)
    things = tuple(d.thing for d in drawn if visible[d.index] >= LEAST_VISIBLE * d.whole)
    return Scene(camera(rng, picture), things)


def _background(rng: Rng, assets: Assets, width: int, height: int) -> Picture:
    if assets.photos and rng.random() < assets.photo_share:
        photo = assets.photos[int(rng.integers(len(assets.photos)))]
        return recolour(rng, photo_background(rng, photo, width, height), 0.3)
    return procedural_background(rng, width, height)


def _choose(rng: Rng, sheet: Sheet, count: tuple[int, int]) -> list[Sprite]:
    labels = rng.integers(0, len(sheet.by_class), int(rng.integers(*count)))
    chosen = [_pick(rng, sheet.by_class[label]) for label in labels]
    if rng.random() < 0.35:
        chosen += [_pick(rng, sheet.distractors) for _ in range(int(rng.integers(1, 3)))]
    order = rng.permutation(len(chosen))
    return [chosen[i] for i in order]


def _pick(rng: Rng, sprites: tuple[Sprite, ...]) -> Sprite:
    return sprites[int(rng.integers(len(sprites)))]


def _place(
    rng: Rng,
    sprite: Sprite,
    picture: tuple[int, int],
    boxes: list[NDArray[np.float64]],
    smallest: float,
) -> _Patch | None:
    """Find a position that covers little of the objects drawn before; None after ten attempts.

    `picture` is (width, height) in px; `boxes` are the corners of what was drawn before.
    """
    share = smallest * (LARGEST / smallest) ** rng.beta(1.7, 1.5)
    for _ in range(10):
        patch = _transform(rng, sprite, share * min(picture))
        size = np.array([patch.shape[1], patch.shape[0]])
        over = rng.uniform(0, 0.5) if rng.random() < 0.25 else 0.0  # how far past the border
        low, high = -over * size, np.array(picture) - (1 - over) * size
        left, top = rng.uniform(low, np.maximum(low, high)).astype(int)
        box = np.array([left, top, left + size[0], top + size[1]], np.float64)
        if _hidden(box, boxes) < (0.55 if rng.random() < 0.3 else 0.15):
            boxes.append(box)
            return _Patch(patch, int(left), int(top))
        share = max(smallest, share * 0.9)
    return None


def _hidden(box: NDArray[np.float64], boxes: list[NDArray[np.float64]]) -> float:
    """Return the largest share that `box` shares with another, of the smaller of the two."""
    if not boxes:
        return 0.0
    others = np.stack(boxes)
    size = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.maximum(size, 0).prod(1)
    areas = np.minimum((box[2:] - box[:2]).prod(), (others[:, 2:] - others[:, :2]).prod(1))
    return float((shared / areas).max())


def _transform(rng: Rng, sprite: Sprite, side: float) -> NDArray[np.uint8]:
    """Scale, squeeze, flip, rotate and recolour a sprite; cut to its drawn extent."""
    smooth = rng.random() < 0.7  # otherwise as from a large picture, shrunk without antialiasing
    level = sprite.level_for(side) if smooth else sprite.levels[0]
    height, width = level.shape[:2]
    scale = side / max(height, width)
    squeeze = np.exp(rng.uniform(-0.12, 0.12, 2))
    angle = np.radians(rng.normal(0, 8))
    flip = -1.0 if rng.random() < 0.5 else 1.0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.diag([flip * scale * squeeze[0], scale * squeeze[1]])
    extent = np.abs(matrix) @ np.array([width, height])
    size = np.ceil(extent).astype(int) + 2
    shift = size / 2 - matrix @ np.array([width / 2, height / 2])
    warp = np.hstack([matrix, shift[:, None]])
    rgba = cv2.warpAffine(level, warp, (int(size[0]), int(size[1])), flags=cv2.INTER_LINEAR)
    x, y, width, height = cv2.boundingRect((rgba[..., 3] > SOLID).astype(np.uint8))
    if width == 0:
        return rgba
    return _tint(rng, rgba[y : y + height, x : x + width])


def _tint(rng: Rng, rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Recolour and sometimes blur a sprite; alpha is blurred along with it."""
    colours = np.minimum(recolour(rng, np.ascontiguousarray(rgba[..., :3]), 0.8), rgba[..., 3:])
    out = np.dstack([colours, rgba[..., 3]])
    if rng.random() < 0.15:
        sigma = float(rng.uniform(0.2, 1.0) * min(2.0, min(out.shape[:2]) / 20))
        out = cv2.GaussianBlur(out, (0, 0), max(sigma, 0.2))
    return out


def _paste(
    picture: Picture, owners: NDArray[np.uint8], patch: _Patch, index: int
) -> tuple[float, float, float, float] | None:
    """Blend a patch in; return the box of its drawn part inside the picture, if any."""
    height, width = picture.shape[:2]
    left, top = max(0, patch.left), max(0, patch.top)
    right = min(width, patch.left + patch.rgba.shape[1])
    bottom = min(height, patch.top + patch.rgba.shape[0])
    if right <= left or bottom <= top:
        return None
    rgba = patch.rgba[top - patch.top : bottom - patch.top, left - patch.left : right - patch.left]
    alpha = cv2.merge([rgba[..., 3]] * 3)
    under = picture[top:bottom, left:right]
    keep = cv2.multiply(under, cv2.bitwise_not(alpha), scale=1 / 255)
    picture[top:bottom, left:right] = cv2.add(keep, np.ascontiguousarray(rgba[..., :3]))
    solid = (rgba[..., 3] > SOLID).astype(np.uint8)
    owners[top:bottom, left:right][solid > 0] = index
    x, y, box_width, box_height = cv2.boundingRect(solid)
    if box_width == 0:
        return None
    return left + x, top + y, left + x + box_width, top + y + box_height
