"""The other implementations: OpenCV, Darknet, and detections that a file states."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from elastic_yolo.comparison.detection_file import (
    StatedPicture,
    picture_name,
    read_detection_file,
)
from elastic_yolo.detector.boxes import Detection, Pixels
from elastic_yolo.detector.darknet.fork import is_fork_only
from elastic_yolo.detector.decode import decode
from elastic_yolo.detector.engines.libdarknet import LibDarknet, find_libdarknet
from elastic_yolo.detector.errors import DetectorError, EngineError
from elastic_yolo.detector.model import Model
from elastic_yolo.detector.placement import turn_upright
from elastic_yolo.names import Resize
from elastic_yolo.picture.header import read_header


@dataclass(frozen=True)
class Picture:
    """A picture file: its path and its content."""

    path: Path
    data: bytes = field(repr=False)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels of the upright picture. Raises PictureError."""
        return read_header(self.data).upright_size

    def decode_upright(self) -> Pixels:
        """Return (h, w, 3) uint8 RGB, upright. Raises PictureError."""
        header = read_header(self.data)
        pixels = turn_upright(decode(self.data, header), header.orientation)
        return np.require(pixels, np.uint8, "C")


class NotInFile(DetectorError):
    """The file with detections has no entry for a picture."""


class Reference(Protocol):
    """Another implementation of a model."""

    name: str
    resize: Resize | None
    """How it fits pictures into the network; None if that is not known."""

    def detect(self, picture: Picture, threshold: float, iou: float) -> list[Detection]:
        """Return the detections whose score exceeds `threshold`.

        Raises PictureError or NotInFile.
        """


class OpenCvReference:
    """OpenCV's DetectionModel: it stretches pictures, and keeps the best label of each box.

    Boxes are the network's, in fractions of a pixel. `DetectionModel.detect` returns whole pixels,
    and shifts a box that begins outside of the picture instead of clipping it (OpenCV 4.14,
    `modules/dnn/src/model.cpp`).
    """

    resize: Resize | None = "stretch"

    def __init__(self, model: Model) -> None:
        """Load a model into OpenCV; raises EngineError."""
        self.name = f"OpenCV {cv2.__version__}"
        if not hasattr(cv2.dnn, "readNetFromDarknet"):
            raise EngineError(
                f"{self.name} cannot read Darknet's files: install opencv-python-headless below 5"
            )
        self._labels = model.labels
        size = model.network.input
        self._grey = size.channels == 1
        try:
            net = cv2.dnn.readNetFromDarknet(str(model.cfg), str(model.weights_file))
            self._net: Any = cv2.dnn.DetectionModel(net)
        except cv2.error as error:
            raise EngineError(
                f"{self.name} cannot load {model.cfg.name}: {error.err or error}"
            ) from error
        self._net.setInputParams(size=(size.width, size.height), scale=1 / 255)

    def detect(self, picture: Picture, threshold: float, iou: float) -> list[Detection]:
        """Detect as `DetectionModel.detect` does: network, best label, threshold, NMS by class."""
        pixels = picture.decode_upright()
        height, width, _ = pixels.shape
        if self._grey:
            pixels = _to_grey(pixels)
        # Of each row: centre, size, objectness, scores of the classes.
        rows = np.concatenate(self._net.predict(pixels))
        classes = rows[:, 5:].argmax(axis=1)
        scores = rows[np.arange(len(rows)), 5 + classes].astype(np.float64)
        kept = scores > threshold
        boxes = rows[kept, :4].astype(np.float64) * [width, height, width, height]
        classes, scores = classes[kept], scores[kept]
        corners = np.hstack([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]])
        best = cv2.dnn.NMSBoxesBatched(
            corners.tolist(), scores.tolist(), classes.tolist(), threshold, iou
        )
        return [_detection(self._labels[classes[i]], scores[i], boxes[i]) for i in best]


class DarknetReference:
    """Darknet's own detector, pjreddie's C code: it letterboxes pictures.

    It gets the pixels as OpenCV decodes them: its own decoder ends the process for a file that it
    cannot read, and knows neither WebP nor Exif.
    """

    resize: Resize | None = "letterbox"
    name = "Darknet"

    def __init__(self, model: Model) -> None:
        """Load a model into libdarknet; raises EngineError."""
        if find_libdarknet() is None:
            raise EngineError("libdarknet.so is not installed: install Debian's package darknet")
        for layer in model.network.layers:
            if is_fork_only(layer):
                raise EngineError(
                    f"Darknet does not support the layer in line {layer.line} of {model.cfg.name}: "
                    "compare with OpenCV, or with a file of AlexeyAB's fork"
                )
        self._labels = model.labels
        self._grey = model.network.input.channels == 1
        self._net = LibDarknet(model.cfg, model.weights_file)

    def detect(self, picture: Picture, threshold: float, iou: float) -> list[Detection]:
        """Detect as `darknet detect` does."""
        pixels = picture.decode_upright()
        stored = _to_grey(pixels) if self._grey else pixels[..., ::-1]
        with tempfile.TemporaryDirectory(prefix="compare-") as folder:
            path = Path(folder, "picture.png")
            # The fastest level: the file is read once.
            cv2.imwrite(str(path), stored, [cv2.IMWRITE_PNG_COMPRESSION, 1])
            found = self._net.detect(path, threshold, iou)
        return [_detection(self._labels[number], score, box) for number, score, box in found]


class FileReference:
    """Detections that a file states; see `read_detection_file` for its forms."""

    resize: Resize | None
    """stretch for result.json of AlexeyAB's fork, unless its .cfg says letter_box=1."""

    def __init__(self, path: Path) -> None:
        """Read a file; raises DetectionFileError."""
        self.name = path.name
        self._pictures: dict[str, StatedPicture] = read_detection_file(path)
        of_the_fork = any(stated.relative for stated in self._pictures.values())
        self.resize = "stretch" if of_the_fork else None

    @property
    def labels(self) -> set[str]:
        """All labels that the file has."""
        return {one.label for stated in self._pictures.values() for one in stated.detections}

    def detect(self, picture: Picture, threshold: float, iou: float) -> list[Detection]:  # noqa: ARG002
        """Return what the file states for a picture of this name."""
        stated = self._pictures.get(picture_name(picture.path.name))
        if stated is None:
            raise NotInFile(f"{self.name} has no entry for this picture")
        return [one for one in stated.in_pixels(picture.size) if one.score > threshold]


def _to_grey(pixels: Pixels) -> Pixels:
    """Return (h, w, 3) RGB pixels as (h, w) grey levels, as AlexeyAB's fork loads them."""
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)


def _detection(label: str, score: float, box: Any) -> Detection:
    x, y, width, height = (round(float(value), 2) for value in box)
    return Detection(label, round(float(score), 6), (x, y, width, height))
