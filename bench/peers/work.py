"""The work of every peer on a picture, so that peers differ only in how they serve.

The peers' servers import it in their own environments, whose requirements name all that it imports.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from elastic_yolo.detector.boxes import Floats, Image, name_detections
from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.engines.base import Engine
from elastic_yolo.detector.engines.choose import EngineOptions
from elastic_yolo.detector.loading import load_detector


class SharedDetector:
    """A detector for several threads, which take turns on the engine's streams.

    Decoding and letterboxing need no stream, so other threads can do them meanwhile.
    """

    def __init__(self, detector: Detector, engines: list[Engine]) -> None:
        """Share engines that all run the detector's network."""
        self._detector = detector
        self._free: SimpleQueue[Engine] = SimpleQueue()
        for engine in engines:
            self._free.put(engine)

    def detect(self, data: bytes, threshold: float) -> list[Any]:
        """Return [[label, score, [x, y, w, h]], ...] for a picture file."""
        image, place = self._detector.prepare(data)
        rows = self.find(image[None], threshold)
        found = name_detections(place.to_picture(rows), self._detector.model.labels)
        return [[d.label, d.score, list(d.box)] for d in found]

    def find(self, images: Image, threshold: float) -> Floats:
        """Return (k, 6) rows, in network pixels, for one (1, height, width, 3) image."""
        engine = self._free.get()
        try:
            outputs = engine.execute(images)
        finally:
            self._free.put(engine)
        return self._detector.postprocess(outputs, threshold, self._detector.model.iou)[0]


@dataclass(frozen=True)
class Settings:
    """The settings of a peer's server: JSON in the environment variable PEER."""

    model: str
    cache: str
    precision: str
    threshold: float
    port: int
    workers: int
    """Processes that each have the model."""
    threads: int
    """Threads of the engine in each process."""
    streams: int
    """Concurrent pictures of the engine in each process."""
    tier: str = "server"
    behind: str = ""
    """URL of the next service, if there is one."""

    def load(self) -> SharedDetector:
        """Load the model; raises DetectorError."""
        options = EngineOptions(self.threads, "openvino", self.precision, "cpu", Path(self.cache))
        detector, _ = load_detector(Path(self.model), options)
        engines = detector.engine.split(self.streams) if self.streams > 1 else [detector.engine]
        return SharedDetector(detector, engines)


def read_settings() -> Settings:
    """Return the settings of this process."""
    return Settings(**json.loads(os.environ["PEER"]))
