"""Make the sample pictures of the web page from scenes of client/images: small WebP files."""

from __future__ import annotations

import io

from PIL import Image, ImageOps

from elastic_yolo.lab.processes.stack import ROOT

SCENES = ("scene-09.jpg", "scene-02.jpg", "scene-05.png", "scene-01.jpg")
FOLDER = ROOT / "services" / "web" / "static"
_SIDE = 640
_MOST_BYTES = 17_000


def main() -> None:
    """Write sample-1.webp and so on."""
    for number, scene in enumerate(SCENES, 1):
        with Image.open(ROOT / "client" / "images" / scene) as opened:
            picture = ImageOps.exif_transpose(opened).convert("RGB")
        picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
        (FOLDER / f"sample-{number}.webp").write_bytes(_encode(picture))


def _encode(picture: Image.Image) -> bytes:
    """Return the best WebP file of at most _MOST_BYTES."""
    for quality in range(75, 0, -5):
        file = io.BytesIO()
        picture.save(file, "WEBP", quality=quality, method=6)
        if file.tell() <= _MOST_BYTES:
            break
    return file.getvalue()


if __name__ == "__main__":
    main()
