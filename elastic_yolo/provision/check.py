"""Check that a downloaded model can be served, before it becomes visible to services."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.engines.choose import EngineOptions, build_engine
from elastic_yolo.detector.errors import DetectorError
from elastic_yolo.detector.golden import golden_difference
from elastic_yolo.detector.model import read_model
from elastic_yolo.detector.profile import read_reference
from elastic_yolo.provision.errors import WrongContent


def check_model(folder: Path, threads: int) -> None:
    """Read and check all files of a model folder, and run the golden picture if it has one.

    Raises WrongContent with the first error.
    """
    with as_wrong_content(folder):
        model = read_model(folder)
        model.read_weights()
        read_reference(model)
        if model.golden is None:
            return
        engine, _ = build_engine(model, EngineOptions(threads=threads))
        difference = golden_difference(Detector(model, engine))
    if difference is not None:
        raise WrongContent(f"unexpected detections on the golden picture: {difference}")


@contextmanager
def as_wrong_content(folder: Path) -> Iterator[None]:
    """Raise errors of the detector as WrongContent, without the temporary folder in the message."""
    try:
        yield
    except DetectorError as error:
        message = str(error).replace(f"{folder}/", "").replace(str(folder), "the model")
        raise WrongContent(message) from error
