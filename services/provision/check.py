"""Whether what came is a model that a service could serve, before any service sees it."""

from __future__ import annotations

from pathlib import Path

from detector.detector import Detector
from detector.engines.choose import EngineOptions, build_engine
from detector.errors import DetectorError
from detector.golden import golden_difference
from detector.model import read_model
from services.provision.errors import WrongContent

_SUFFIXES = (".cfg", ".weights", ".names")


def check_model(folder: Path, threads: int) -> None:
    """Read everything, hold .cfg against .weights and labels, and run the golden picture, if any.

    Raises WrongContent with the first thing that is wrong.
    """
    try:
        model = read_model(folder)
        model.read_weights()
        if model.golden is None:
            return
        engine, _ = build_engine(model, EngineOptions(threads=threads))
        difference = golden_difference(Detector(model, engine))
    except DetectorError as error:
        # The folder has not got its name yet.
        raise WrongContent(
            str(error).replace(f"{folder}/", "").replace(str(folder), "it")
        ) from error
    if difference is not None:
        raise WrongContent(f"the golden picture is answered otherwise: {difference}")
