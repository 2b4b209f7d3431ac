"""Derived models: made once from a model folder, found again by its digest.

Everything here can be made anew, so a damaged or missing file is no loss. What was measured when it
was made is kept inside the file.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import helper

from detector.errors import EngineError

_PICTURES = "elastic-yolo.calibration-pictures"
_AGREEMENT = "elastic-yolo.agreement"
_DIGEST = "elastic-yolo.digest"


@dataclass(frozen=True)
class Quantised:
    """An int8 graph, and how far its answers agreed with fp32 on the calibration pictures.

    `agreement` is the F1 score of its boxes with those of fp32 taken for the truth: 1 is the same.
    """

    graph: onnx.ModelProto
    pictures: int
    agreement: float


def artefact_path(cache: Path, digest: str) -> Path:
    """Return where the int8 graph of the model with `digest` (sha256:...) belongs."""
    return cache / f"{digest.removeprefix('sha256:')}-int8.onnx"


def write_quantised(path: Path, digest: str, quantised: Quantised) -> None:
    """Write an artefact so that a reader sees all of it or nothing."""
    helper.set_model_props(
        quantised.graph,
        {
            _DIGEST: digest,
            _PICTURES: str(quantised.pictures),
            _AGREEMENT: f"{quantised.agreement:.4f}",
        },
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".new-", delete=False) as file:
        file.write(quantised.graph.SerializeToString())
        file.flush()
        os.fsync(file.fileno())
    # mkstemp's 0600 would keep the services of other users out.
    Path(file.name).chmod(0o644)
    Path(file.name).replace(path)


def read_quantised(cache: Path | None, digest: str) -> Quantised:
    """Return the int8 graph of a model; raises EngineError with what to do if there is none."""
    if cache is None:
        raise EngineError("int8 needs a cache folder with the converted model")
    path = artefact_path(cache, digest)
    hint = f"make it with elastic-yolo convert --precision int8 --cache {cache}"
    try:
        graph = onnx.load(path)
        facts = {entry.key: entry.value for entry in graph.metadata_props}
        quantised = Quantised(graph, int(facts[_PICTURES]), float(facts[_AGREEMENT]))
        belongs_here = facts[_DIGEST] == digest
    except FileNotFoundError:
        raise EngineError(f"no int8 version of this model in {cache}: {hint}") from None
    except Exception as error:  # protobuf's own error class is private to its C code
        raise EngineError(f"{path} is damaged: {hint}") from error
    if not belongs_here:
        raise EngineError(f"{path} belongs to another model: {hint}")
    return quantised
