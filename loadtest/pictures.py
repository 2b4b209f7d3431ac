"""The pictures that users send: those of a folder, and smaller and larger versions of them."""

from __future__ import annotations

import io
import mimetypes
import random
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

from client.client import list_pictures
from loadtest.errors import LoadTestError

IMAGES = Path(__file__).resolve().parent.parent / "client" / "images"
BOUNDARY = "picture-of-a-load-test"

# Per cent of the pictures by size: an assumption about websites and phones, not a measurement.
# Replace it with the sizes of your pictures.
SIZES = {"thumbnail": 20, "scene": 50, "full-hd": 25, "photo": 5}
_LONGER_SIDE = {"thumbnail": 320, "full-hd": 1920, "photo": 4032}
_OF_EACH = 2
_QUALITY = 85
_CHANCE = random.Random()  # noqa: S311  # pictures, not secrets


@dataclass(frozen=True)
class Picture:
    """A picture as the body of a form, prepared once and sent many times."""

    size: str
    body: bytes


class Mix:
    """Pictures of every size, drawn with the weights of SIZES."""

    def __init__(self, folder: Path = IMAGES) -> None:
        """Read the pictures of a folder and scale some; takes a second or two."""
        scenes = list_scenes(folder)
        self._pictures = {
            "scene": [_form("scene", path.name, path.read_bytes()) for path in scenes]
        }
        for size, longer_side in _LONGER_SIDE.items():
            self._pictures[size] = [
                _form(size, f"{path.stem}-{size}.jpg", scale(path, longer_side))
                for path in scenes[:_OF_EACH]
            ]

    def draw(self, chance: random.Random = _CHANCE) -> Picture:
        """Return a random picture."""
        (size,) = chance.choices(list(SIZES), weights=list(SIZES.values()))
        return chance.choice(self._pictures[size])


def list_scenes(folder: Path) -> list[Path]:
    """Return the pictures of a folder that are sent as they are; raises LoadTestError for none.

    Larger ones are left out: pictures of the size `photo` are scaled instead.
    """
    limit = _LONGER_SIDE["full-hd"]
    try:
        scenes = [path for path in list_pictures(folder) if max(_dimensions(path)) <= limit]
    except OSError as error:
        raise LoadTestError(f"{folder}: {error}") from error
    if not scenes:
        raise LoadTestError(f"{folder}: no picture of at most {limit} pixels in width and height")
    return scenes


def scale(path: Path, longer_side: int) -> bytes:
    """Return a picture as JPEG with a given longer side in pixels, upright and without alpha."""
    with Image.open(path) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    factor = longer_side / max(picture.size)
    width, height = (max(1, round(side * factor)) for side in picture.size)
    encoded = io.BytesIO()
    picture.resize((width, height), Image.Resampling.BICUBIC).save(
        encoded, "JPEG", quality=_QUALITY
    )
    return encoded.getvalue()


def _dimensions(path: Path) -> tuple[int, int]:
    with Image.open(path) as opened:
        return opened.size


def _form(size: str, name: str, data: bytes) -> Picture:
    media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    head = (
        f"--{BOUNDARY}\r\n"
        f'Content-Disposition: form-data; name="image"; filename="{name}"\r\n'
        f"Content-Type: {media_type}\r\n\r\n"
    )
    return Picture(size, head.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode())
