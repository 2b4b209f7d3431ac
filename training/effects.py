"""Changes of colour, light, sharpness and noise."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_FROM_YIQ = np.linalg.inv(_TO_YIQ)


def recolour(
    rng: np.random.Generator, picture: NDArray[np.uint8], chance: float
) -> NDArray[np.uint8]:
    """With `chance`, turn the hue and change saturation and brightness of RGB [h, w, 3]."""
    if rng.random() >= chance:
        return picture
    wide = rng.random() < 0.25
    angle = rng.uniform(-np.pi, np.pi) if wide else rng.normal(0, 0.25)
    saturation, light = rng.uniform(0.5, 1.4), rng.uniform(0.7, 1.25)
    cos, sin = saturation * np.cos(angle), saturation * np.sin(angle)
    turn = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    return cv2.transform(picture, light * (_FROM_YIQ @ turn @ _TO_YIQ))


def camera(rng: np.random.Generator, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Relight, blur, add noise to and compress an RGB picture, each with a probability."""
    if rng.random() < 0.35:
        picture = _light(rng, picture)
    if rng.random() < 0.4:
        gain, offset = rng.uniform(0.7, 1.25), rng.uniform(-25, 25)
        picture = cv2.convertScaleAbs(picture, alpha=gain, beta=max(offset, 0.0))
    if rng.random() < 0.2:
        unit = min(picture.shape[:2]) / 416
        picture = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.3, 1.3) * max(unit, 0.5)))
    if rng.random() < 0.4:
        picture = _noise(rng, picture)
    if rng.random() < 0.4:
        picture = _compress(rng, picture)
    return picture


def _light(rng: np.random.Generator, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Multiply by a smooth field between about 0.5 and 1.3."""
    field = rng.uniform(0.5, 1.3, (3, 3)).astype(np.float32)
    height, width = picture.shape[:2]
    factor = cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC)
    factor = cv2.convertScaleAbs(factor, alpha=128)
    return cv2.multiply(picture, cv2.merge([factor] * 3), scale=1 / 128)


@cache
def _noise_pool() -> NDArray[np.int16]:
    """Return standard noise, deviation 64, made once; scenes take random cuts of it."""
    rng = np.random.default_rng(1)
    return (rng.standard_normal((1024, 1024, 3), np.float32) * 64).astype(np.int16)


def _noise(rng: np.random.Generator, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    pool = _noise_pool()
    y, x = (int(n) for n in rng.integers(0, 512, 2))
    rows = (np.arange(height) + y) % 1024
    columns = (np.arange(width) + x) % 1024
    fits = y + height <= 1024 and x + width <= 1024
    noise = pool[y : y + height, x : x + width] if fits else pool[rows][:, columns]
    if rng.random() < 0.4:
        noise = np.repeat(noise[..., :1], 3, axis=2)
    strength = rng.uniform(1, 14) / 64
    return cv2.addWeighted(
        picture, 1.0, np.ascontiguousarray(noise), strength, 0.0, dtype=cv2.CV_8U
    )


def _compress(rng: np.random.Generator, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    quality = int(rng.integers(35, 95))
    coded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.ascontiguousarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1])
