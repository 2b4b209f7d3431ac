"""From a model folder to a detector that is ready to run."""

from __future__ import annotations

from pathlib import Path

from detector.detector import Detector
from detector.engines.openvino import OpenVinoEngine
from detector.graph import build_graph
from detector.model import read_model


def load_detector(
    folder: Path, *, threads: int, precision: str = "fp32", cache: Path | None = None
) -> Detector:
    """Read a model folder and compile its network.

    `threads` is how many the engine uses, `cache` a folder for compiled models. Raises ModelError
    for what is wrong with the folder, EngineError for what the engine cannot do.
    """
    model = read_model(folder)
    graph = build_graph(model.network, model.weights)
    engine = OpenVinoEngine(graph, threads=threads, precision=precision, cache=cache)
    return Detector(model, engine)
