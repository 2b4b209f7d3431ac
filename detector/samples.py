"""Folders of pictures, with Darknet's label files where they have them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detector.boxes import Floats, Image
from detector.errors import SampleError
from detector.prepare import prepare_picture
from picture.errors import PictureError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})


@dataclass(frozen=True)
class Sample:
    """A picture as it enters the network, (height, width, 3), and what is in it, if that is known.

    `truth` is (k, 5) float32, x1 y1 x2 y2 class in network pixels.
    """

    image: Image
    truth: Floats | None


def list_pictures(folder: Path) -> list[Path]:
    """Return the picture files of a folder by name; raises SampleError if there are none."""
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not found:
        raise SampleError(f"{folder}: no pictures: expected {', '.join(sorted(SUFFIXES))} files")
    return found


def read_sample(path: Path, network_size: tuple[int, int], classes: int) -> Sample:
    """Read a picture and its labels; raises PictureError, or SampleError for the labels."""
    image, box = prepare_picture(path.read_bytes(), network_size)
    labels = find_labels(path)
    if labels is None:
        return Sample(image, None)
    width, height = box.picture
    truth = read_labels(labels, classes)
    centres, halves = truth[:, :2], truth[:, 2:4] / 2
    corners = np.concatenate([centres - halves, centres + halves, truth[:, 4:]], axis=1)
    corners[:, :4] *= np.array([width, height, width, height], np.float32)
    return Sample(image, box.to_network(corners.astype(np.float32)))


def find_labels(picture: Path) -> Path | None:
    """Return a picture's label file: beside it, or in `labels` where it lies in `images`.

    Darknet looks for them in the same two places (`src/data.c`, fill_truth_detection).
    """
    folders = [picture.parent]
    if picture.parent.name == "images":
        folders.append(picture.parent.with_name("labels"))
    places = (folder / f"{picture.stem}.txt" for folder in folders)
    return next((place for place in places if place.is_file()), None)


def read_labels(path: Path, classes: int) -> Floats:
    """Return (k, 5) float32: centre x, centre y, width, height as fractions of a picture, class.

    A line of the file is `class x y width height`. Raises SampleError naming the line.
    """
    rows = []
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            label, *box = line.split()
            values = [float(value) for value in box]
            sound = 0 <= int(label) < classes and len(box) == 4 and np.isfinite(values).all()
        except ValueError:
            sound = False
        if not sound:
            raise SampleError(
                f"{path}:{number}: expected a class below {classes} and four fractions, "
                f"found: {line.strip()[:80]}"
            )
        rows.append([*values, float(label)])
    return np.array(rows, np.float32).reshape(-1, 5)


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8") as file:
            yield from file
    except (OSError, UnicodeDecodeError) as error:
        raise SampleError(f"{path}: cannot be read as a label file: {error}") from error


class SampleFolder:
    """The pictures of a folder that can be used, read anew each time they are gone through."""

    def __init__(
        self,
        folder: Path,
        network_size: tuple[int, int],
        classes: int,
        left_out: Callable[[Path, PictureError], object],
    ) -> None:
        """Look at every picture; `left_out` is told of each that cannot be used, and why.

        Raises SampleError if none can, or for a label file that is wrong.
        """
        self._network_size = network_size
        self._classes = classes
        self._paths: list[Path] = []
        labelled = 0
        for path in list_pictures(folder):
            try:
                sample = read_sample(path, network_size, classes)
            except PictureError as error:
                left_out(path, error)
                continue
            self._paths.append(path)
            labelled += sample.truth is not None
        if not self._paths:
            raise SampleError(f"no usable pictures in {folder}")
        self.labelled = labelled == len(self._paths)
        """Whether every picture has its labels."""

    def __len__(self) -> int:
        """Count the pictures."""
        return len(self._paths)

    def __iter__(self) -> Iterator[Sample]:
        """Read the pictures one after the other."""
        for path in self._paths:
            yield read_sample(path, self._network_size, self._classes)

    def some(self, most: int) -> Iterator[Image]:
        """Read at most so many of the pictures, evenly spread over the folder."""
        chosen = np.linspace(0, len(self) - 1, min(most, len(self)))
        for index in chosen.round().astype(int):
            yield read_sample(self._paths[index], self._network_size, self._classes).image
