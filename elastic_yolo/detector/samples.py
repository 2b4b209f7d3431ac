"""Folders of sample pictures, optionally with Darknet label files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from elastic_yolo.detector.boxes import Floats, Image, InputFormat
from elastic_yolo.detector.errors import (
    DetectorError,
    ModelError,
    NoPictures,
    PictureUnusable,
    SampleError,
)
from elastic_yolo.detector.files import MOST_PICTURE_BYTES, read_small, read_text
from elastic_yolo.detector.model import Model
from elastic_yolo.detector.prepare import prepare_picture
from elastic_yolo.picture.errors import PictureError

# A label file of a thousand objects.
_MOST_LABEL_BYTES = 2**17
_Item = TypeVar("_Item")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})


@dataclass(frozen=True)
class Sample:
    """A picture as network input, (height, width, 3) uint8, and its labelled objects, if any.

    `truth` is (k, 5) float32, x1 y1 x2 y2 class in network pixels; None without a label file.
    """

    image: Image
    truth: Floats | None


def list_pictures(folder: Path) -> list[Path]:
    """Return the picture files of a folder, sorted by name; raises NoPictures if it has none."""
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not found:
        raise NoPictures(f"{folder}: no pictures: expected {', '.join(sorted(SUFFIXES))} files")
    return found


def read_sample(path: Path, wanted: InputFormat, classes: int) -> Sample:
    """Read a picture and its labels; raises PictureUnusable, or SampleError for invalid labels."""
    try:
        image, place = prepare_picture(read_small(path, MOST_PICTURE_BYTES), wanted)
    except (PictureError, ModelError) as error:
        raise PictureUnusable(str(error)) from error
    labels = find_labels(path)
    if labels is None:
        return Sample(image, None)
    width, height = place.picture
    truth = read_labels(labels, classes)
    centres, halves = truth[:, :2], truth[:, 2:4] / 2
    corners = np.concatenate([centres - halves, centres + halves, truth[:, 4:]], axis=1)
    corners[:, :4] *= np.array([width, height, width, height], np.float32)
    return Sample(image, place.to_network(corners.astype(np.float32)))


def find_labels(picture: Path) -> Path | None:
    """Return a picture's label file, or None.

    It is in the picture's folder, or in the folder `labels` beside a folder `images`, as in Darknet
    (`src/data.c`, fill_truth_detection).
    """
    folders = [picture.parent]
    if picture.parent.name == "images":
        folders.append(picture.parent.with_name("labels"))
    paths = (folder / f"{picture.stem}.txt" for folder in folders)
    return next((path for path in paths if path.is_file()), None)


def read_labels(path: Path, classes: int) -> Floats:
    """Return (k, 5) float32: centre x, centre y, width, height as fractions of the picture, class.

    A line of the file is `class x y width height`. Raises SampleError with the line.
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
        # A box may extend beyond the picture, but not by ten times its size.
        valid = 0 <= int(label) < classes and len(box) == 4 and all(abs(v) < 10 for v in values)
    except ValueError:
        valid = False
    if not valid:
        raise SampleError(
            f"{where}: expected a class below {classes} and four fractions, "
            f"found: {line.strip()[:80]!r}"
        )
    return [*values, float(label)]


class Samples(Protocol):
    """Sample pictures as network input, with their labels or without."""

    @property
    def truth(self) -> list[Floats] | None:
        """Labelled objects of every picture, as in Sample; None unless all pictures have labels."""

    def __len__(self) -> int:
        """Return the number of pictures."""

    def __iter__(self) -> Iterator[Image]:
        """Yield the pictures, (height, width, 3) uint8 each."""

    def sample_evenly(self, most: int) -> Iterator[Image]:
        """Yield at most `most` of the pictures, evenly spread."""


class SampleList:
    """Pictures in memory, without labels."""

    truth = None

    def __init__(self, images: Sequence[Image]) -> None:
        """Take the pictures as network input, (height, width, 3) uint8 each."""
        self._images = images

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._images)

    def __iter__(self) -> Iterator[Image]:
        """Yield the pictures."""
        return iter(self._images)

    def sample_evenly(self, most: int) -> Iterator[Image]:
        """Yield at most `most` of the pictures, evenly spread over the list."""
        return iter(spread_evenly(self._images, most))


def spread_evenly(items: Sequence[_Item], most: int) -> list[_Item]:
    """Return at most `most` of the items, evenly spread, the first and the last included."""
    chosen = np.linspace(0, len(items) - 1, min(most, len(items)))
    return [items[index] for index in chosen.round().astype(int)]


class SampleFolder:
    """The usable pictures of a folder; every iteration reads them from disk again."""

    def __init__(
        self,
        folder: Path,
        model: Model,
        on_skip: Callable[[Path, DetectorError], object],
        most: int | None = None,
    ) -> None:
        """Read every picture once as `model` requires it.

        Calls `on_skip` with each unusable picture and its error. `most` limits the pictures to that
        many, evenly spread over the folder. Raises NoPictures if no picture is usable, and
        SampleError if a label file is invalid.
        """
        self._format = model.input_format
        self._classes = model.network.classes
        self._paths: list[Path] = []
        truth: list[Floats | None] = []
        found = list_pictures(folder)
        for path in found if most is None else spread_evenly(found, most):
            try:
                sample = self._read(path)
            except PictureUnusable as error:
                on_skip(path, error)
                continue
            self._paths.append(path)
            truth.append(sample.truth)
        if not self._paths:
            raise NoPictures(f"no usable pictures in {folder}")
        labelled = [boxes for boxes in truth if boxes is not None]
        self.unlabelled = len(truth) - len(labelled)
        """Number of pictures without a label file."""
        self.truth = labelled if not self.unlabelled else None
        """Labelled objects of every picture, as in Sample; None unless all pictures have labels."""

    def __len__(self) -> int:
        """Return the number of usable pictures."""
        return len(self._paths)

    def __iter__(self) -> Iterator[Image]:
        """Yield the pictures as network input, one by one."""
        for path in self._paths:
            yield self._read(path).image

    def sample_evenly(self, most: int) -> Iterator[Image]:
        """Yield at most `most` of the pictures, evenly spread over the folder."""
        for path in spread_evenly(self._paths, most):
            yield self._read(path).image

    def _read(self, path: Path) -> Sample:
        return read_sample(path, self._format, self._classes)
