"""From a model folder to a detector that is ready to run."""

from __future__ import annotations

from pathlib import Path

from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.engines.choose import Choice, EngineOptions, build_engine
from elastic_yolo.detector.model import read_model


def load_detector(folder: Path, options: EngineOptions) -> tuple[Detector, Choice]:
    """Read a model folder and load its network into an engine; also say which, and why.

    Raises ModelError for what is wrong with the folder, EngineError for what no engine can do.
    """
    model = read_model(folder)
    engine, choice = build_engine(model, options)
    return Detector(model, engine), choice
