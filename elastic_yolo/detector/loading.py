"""Load a model folder into a Detector."""

from __future__ import annotations

from pathlib import Path

from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.engines.choose import Choice, EngineOptions, build_engine
from elastic_yolo.detector.model import read_model
from elastic_yolo.extras import naming_extra
from elastic_yolo.names import Resize


def load_detector(
    folder: Path, options: EngineOptions, *, resize: Resize | None = None
) -> tuple[Detector, Choice]:
    """Read a model folder and load its network into an engine; returns the engine's choice too.

    `resize` replaces what the folder's files state, or the default: letterbox.
    Raises ModelError for an invalid model folder, and EngineError if no engine fits `options` or
    the engine cannot load the network; ValueError for another `resize`; MissingPackage if a
    package of the extra is missing.
    """
    with naming_extra("elastic_yolo.detector", "detect"):
        model = read_model(folder, resize)
        engine, choice = build_engine(model, options)
    return Detector(model, engine), choice
