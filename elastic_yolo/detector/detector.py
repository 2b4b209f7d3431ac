"""The Detector: from a picture to labelled boxes in one process, as the three services do."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from elastic_yolo.detector.arguments import check_fraction
from elastic_yolo.detector.boxes import Detection, Floats, Image, name_detections
from elastic_yolo.detector.engines.base import Engine
from elastic_yolo.detector.engines.choose import EngineOptions, build_engine
from elastic_yolo.detector.inputs import Frame, PictureFile, require_batch, take_input
from elastic_yolo.detector.model import Model, read_model
from elastic_yolo.detector.nms import detect_in_heads
from elastic_yolo.detector.placement import Placement
from elastic_yolo.detector.prepare import prepare_frame, prepare_picture
from elastic_yolo.extras import naming_extra
from elastic_yolo.machine import read_cpu_quota
from elastic_yolo.names import Resize


class Detector:
    """A model loaded into an engine."""

    def __init__(self, model: Model, engine: Engine) -> None:
        """Combine a model with an engine that was built for it."""
        self.model = model
        self.engine = engine

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str],
        options: EngineOptions | None = None,
        *,
        resize: Resize | None = None,
    ) -> Self:
        """Read a model folder and load its network into an engine.

        Without `options`: the engine and precision that fit best, one thread for each CPU. `resize`
        replaces what the folder's files state, or the default: letterbox. Raises ModelError for an
        invalid model folder, EngineError if no engine fits `options` or the engine cannot load the
        network, ValueError for another `resize`, and MissingPackage if a package of the extra is
        missing.
        """
        with naming_extra("elastic_yolo.detector", "detect"):
            model = read_model(Path(folder), resize)
            engine, _ = build_engine(model, options or EngineOptions(available_cpus()))
        return cls(model, engine)

    @property
    def network_size(self) -> tuple[int, int]:
        """(width, height) of the network's input in pixels."""
        return self.model.input_format.size

    def execute(self, images: Image) -> list[Floats]:
        """Run the engine on (n, height, width, 3) pixels, without decoding; see Engine.execute.

        Raises TypeError or ValueError for anything else.
        """
        return self.engine.execute(require_batch(images, self.network_size))

    def postprocess(self, outputs: list[Floats], threshold: float, iou: float) -> list[Floats]:
        """Decode the engine's outputs and apply NMS: one (k, 6) float32 array for each picture.

        Rows are x1 y1 x2 y2 score class in network pixels, best score first. Only
        scores above `threshold` are kept; NMS removes a box whose overlap exceeds `iou`. Neither is
        checked: they are numbers from 0 to 1.
        """
        pictures = len(outputs[0])
        network = self.model.network
        return [
            detect_in_heads(network, [head[i] for head in outputs], threshold, iou)
            for i in range(pictures)
        ]

    def prepare(
        self,
        picture: PictureFile | None = None,
        *,
        bgr: NDArray[Any] | None = None,
        rgb: NDArray[Any] | None = None,
        exact: bool = False,
    ) -> tuple[Image, Placement]:
        """Return a picture as network input, (height, width, 3), and its place there.

        Arguments and errors as in `detect`.
        """
        source = take_input(picture, bgr, rgb)
        if isinstance(source, Frame):
            return prepare_frame(source, self.model.input_format, exact=exact)
        return prepare_picture(source, self.model.input_format, exact=exact)

    def detect(
        self,
        picture: PictureFile | None = None,
        threshold: float | None = None,
        iou: float | None = None,
        *,
        bgr: NDArray[Any] | None = None,
        rgb: NDArray[Any] | None = None,
        exact: bool = False,
    ) -> list[Detection]:
        """Detect objects in a picture.

        That is a file, by path or as its bytes, or an array of pixels, (height, width, 3) uint8:
        `bgr` has the order of OpenCV, `rgb` that of Pillow. `threshold` and `iou` default to the
        model's. `exact` decodes every pixel of a large JPEG, and resamples as precisely as the
        original: Darknet for a letterbox, OpenCV for a stretched picture. Boxes are in pixels of
        the picture, of a file in those of the upright picture, best score first.

        Raises PictureError or OSError for a file, and TypeError or ValueError for anything else
        that is no picture, and for a threshold or an IoU that is not a number from 0 to 1.
        """
        threshold = self.model.threshold if threshold is None else threshold
        iou = self.model.iou if iou is None else iou
        check_fraction("threshold", threshold)
        check_fraction("iou", iou)
        image, place = self.prepare(picture, bgr=bgr, rgb=rgb, exact=exact)
        found = self.postprocess(self.execute(image[np.newaxis]), threshold, iou)
        return name_detections(place.to_picture(found[0]), self.model.labels)


def available_cpus() -> int:
    """Return the number of CPUs that this process may use: by affinity, and its container's quota.

    More threads than that take turns, and the kernel stops all of them when the quota is used up.
    """
    allowed = len(os.sched_getaffinity(0))
    quota = read_cpu_quota()
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))
