"""The Detector: from a picture file to labelled boxes in one process, as the three services do."""

from __future__ import annotations

import numpy as np

from elastic_yolo.detector.boxes import Detection, Floats, Image, name_detections
from elastic_yolo.detector.engines.base import Engine
from elastic_yolo.detector.heads import decode_heads
from elastic_yolo.detector.model import Model
from elastic_yolo.detector.nms import suppress
from elastic_yolo.detector.placement import Placement
from elastic_yolo.detector.prepare import prepare_picture


class Detector:
    """A model loaded into an engine."""

    def __init__(self, model: Model, engine: Engine) -> None:
        """Combine a model with an engine that was built for it."""
        self.model = model
        self.engine = engine

    @property
    def network_size(self) -> tuple[int, int]:
        """(width, height) of the network's input in pixels."""
        return self.model.input_format.size

    def execute(self, images: Image) -> list[Floats]:
        """Run the engine on (n, height, width, 3) pixels, without decoding; see Engine.execute."""
        return self.engine.execute(images)

    def postprocess(self, outputs: list[Floats], threshold: float, iou: float) -> list[Floats]:
        """Decode the engine's outputs and apply NMS: one (k, 6) float32 array for each picture.

        Rows are x1 y1 x2 y2 score class in network pixels, best score first. Only
        scores above `threshold` are kept; NMS removes a box whose overlap exceeds `iou`.
        """
        pictures = len(outputs[0])
        network = self.model.network
        candidates = (
            decode_heads(network, [head[i] for head in outputs], threshold) for i in range(pictures)
        )
        return [suppress(found, iou, network.heads[-1]) for found in candidates]

    def prepare(self, data: bytes, *, exact: bool = False) -> tuple[Image, Placement]:
        """Return a picture file as network input, (height, width, 3), and its place there.

        `exact` as in `detect`. Raises PictureError.
        """
        return prepare_picture(data, self.model.input_format, exact=exact)

    def detect(
        self,
        data: bytes,
        threshold: float | None = None,
        iou: float | None = None,
        *,
        exact: bool = False,
    ) -> list[Detection]:
        """Detect objects in a picture file's bytes.

        `threshold` and `iou` default to the model's. `exact` decodes every pixel of a large JPEG,
        and resamples as precisely as the original: Darknet for a letterbox, OpenCV for a stretched
        picture. Boxes are in pixels of the upright picture, best score first. Raises PictureError.
        """
        image, place = self.prepare(data, exact=exact)
        outputs = self.execute(image[np.newaxis])
        found = self.postprocess(
            outputs,
            self.model.threshold if threshold is None else threshold,
            self.model.iou if iou is None else iou,
        )
        return name_detections(place.to_picture(found[0]), self.model.labels)
