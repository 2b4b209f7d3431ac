"""The pictures of a load test, from any folder."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from loadtest.errors import LoadTestError
from loadtest.pictures import IMAGES, SIZES, Mix, list_scenes
from tests.support.pictures import encode, plain

PHOTOS = IMAGES.parent / "photos"


def names(folder: Path) -> list[str]:
    return [path.name for path in list_scenes(folder)]


def test_pictures_that_are_larger_than_full_hd_are_not_sent_as_they_are() -> None:
    assert "scene-12.jpg" in names(IMAGES)
    assert "scene-09.jpg" not in names(IMAGES)
    assert names(PHOTOS) == [
        "dog.jpg", "eagle.jpg", "giraffe.jpg", "horses.jpg", "kite.jpg", "person.jpg",
    ]  # fmt: skip


def test_a_mix_has_every_size_of_the_folders_pictures(tmp_path: Path) -> None:
    (tmp_path / "square.png").write_bytes(encode(plain(320, 200)))
    mix = Mix(tmp_path)

    bodies = {}
    while len(bodies) < len(SIZES):
        picture = mix.draw()
        bodies[picture.size] = picture.body

    longer = {
        size: max(Image.open(io.BytesIO(content(body))).size) for size, body in bodies.items()
    }
    assert longer == {"thumbnail": 320, "scene": 320, "full-hd": 1920, "photo": 4032}


def content(body: bytes) -> bytes:
    """Return the file in the body of a form."""
    return body.partition(b"\r\n\r\n")[2].rpartition(b"\r\n--")[0]


def test_a_folder_without_a_picture_to_send_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")

    with pytest.raises(LoadTestError, match=r"no picture of at most 1920 pixels"):
        list_scenes(tmp_path)

    (tmp_path / "broken.jpg").write_text("no picture either")

    with pytest.raises(LoadTestError, match=r"broken\.jpg"):
        list_scenes(tmp_path)
