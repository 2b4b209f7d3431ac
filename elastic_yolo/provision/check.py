"""Whether what came is a model that a service could serve, before any service sees it."""

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
    """Read everything, hold .cfg against .weights and labels, and run the golden picture, if any.

    Raises WrongContent with the first thing that is wrong.
    """
    with refusing(folder):
        model = read_model(folder)
        model.read_weights()
        read_reference(model)
        if model.golden is None:
            return
        engine, _ = build_engine(model, EngineOptions(threads=threads))
        difference = golden_difference(Detector(model, engine))
    if difference is not None:
        raise WrongContent(f"the golden picture is answered otherwise: {difference}")


@contextmanager
def refusing(folder: Path) -> Iterator[None]:
    """Raise what the detector says of a model as WrongContent; its folder has no name yet."""
    try:
        yield
    except DetectorError as error:
        what = str(error).replace(f"{folder}/", "").replace(str(folder), "it")
        raise WrongContent(what) from error
