"""Folders of pictures, with Darknet's label files where they have them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from elastic_yolo.detector.boxes import Floats, Image
from elastic_yolo.detector.darknet.layers import Network
from elastic_yolo.detector.errors import DetectorError, ModelError, PictureUnusable, SampleError
from elastic_yolo.detector.files import read_small, read_text
from elastic_yolo.detector.prepare import prepare_picture
from elastic_yolo.picture.errors import PictureError

# The most that preprocess takes, and a thousand objects.
_MOST_BYTES = 64 * 2**20
_MOST_LABEL_BYTES = 2**17
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
    """Read a picture and its labels; raises PictureUnusable, or SampleError for the labels."""
    try:
        image, box = prepare_picture(read_small(path, _MOST_BYTES), network_size)
    except (PictureError, ModelError) as error:
        raise PictureUnusable(str(error)) from error
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
    try:
        lines = read_text(path, _MOST_LABEL_BYTES).splitlines()
    except ModelError as error:
        raise SampleError(str(error)) from error
    rows = [
        _parse_label(line, classes, f"{path}:{number}")
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    return np.array(rows, np.float32).reshape(-1, 5)


def _parse_label(line: str, classes: int, where: str) -> list[float]:
    try:
        label, *box = line.split()
        values = [float(value) for value in box]
        # A box may stick out of the picture, but not lie several pictures away.
        sound = 0 <= int(label) < classes and len(box) == 4 and all(abs(v) < 10 for v in values)
    except ValueError:
        sound = False
    if not sound:
        raise SampleError(
            f"{where}: expected a class below {classes} and four fractions, "
            f"found: {line.strip()[:80]!r}"
        )
    return [*values, float(label)]


class SampleFolder:
    """The pictures of a folder that can be used, read anew each time they are gone through."""

    def __init__(
        self, folder: Path, network: Network, left_out: Callable[[Path, DetectorError], object]
    ) -> None:
        """Look at every picture; `left_out` is told of each that cannot be used, and why.

        Raises SampleError if none can, or for a label file that is wrong.
        """
        self._network = network
        self._paths: list[Path] = []
        truth: list[Floats | None] = []
        for path in list_pictures(folder):
            try:
                sample = self._read(path)
            except PictureUnusable as error:
                left_out(path, error)
                continue
            self._paths.append(path)
            truth.append(sample.truth)
        if not self._paths:
            raise SampleError(f"no usable pictures in {folder}")
        labelled = [boxes for boxes in truth if boxes is not None]
        self.unlabelled = len(truth) - len(labelled)
        """How many pictures have no label file."""
        self.truth = labelled if not self.unlabelled else None
        """What is in every picture, as in Sample, where all of them have their labels."""

    def __len__(self) -> int:
        """Count the pictures."""
        return len(self._paths)

    def __iter__(self) -> Iterator[Image]:
        """Read the pictures one after the other, as they enter the network."""
        for path in self._paths:
            yield self._read(path).image

    def some(self, most: int) -> Iterator[Image]:
        """Read at most so many of the pictures, evenly spread over the folder."""
        chosen = np.linspace(0, len(self) - 1, min(most, len(self)))
        for index in chosen.round().astype(int):
            yield self._read(self._paths[index]).image

    def _read(self, path: Path) -> Sample:
        size = self._network.input
        return read_sample(path, (size.width, size.height), self._network.classes)
