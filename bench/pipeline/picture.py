"""The picture of all candidates."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from bench.models import PICTURES

SIZE = (768, 576)
_QUALITY = 90
_SOURCE = "scene-01.jpg"


def make_picture(folder: Path) -> Path:
    """Return a 768x576 JPEG in `folder`, always made from the same picture of the client."""
    target = folder / f"picture-{SIZE[0]}x{SIZE[1]}.jpg"
    if not target.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with Image.open(PICTURES / _SOURCE) as source:
            picture = source.convert("RGB").resize(SIZE, Image.Resampling.LANCZOS)
        unfinished = target.with_suffix(".new")
        picture.save(unfinished, "JPEG", quality=_QUALITY)
        unfinished.replace(target)
    return target
