"""The optional model.yaml of a model folder: name, thresholds, resize, digests, golden picture."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from elastic_yolo.detector.errors import ModelError
from elastic_yolo.detector.files import read_text
from elastic_yolo.names import Digest, FileName, Name, Resize
from elastic_yolo.strict_yaml import parse_strict_yaml

# A golden picture with a hundred objects takes 6 kB.
_MOST_BYTES = 2**15
# Nesting: golden, expected, one object, its box, a number.
_MOST_DEPTH = 6
# Entries of `files`, and expected objects of the golden picture.
_MOST_FILES = 16
_MOST_OBJECTS = 500

Fraction = Annotated[float, Field(ge=0, le=1)]
BoxPixels = tuple[float, float, float, float]


class _StrictModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Tolerance(_StrictModel):
    """Largest accepted difference from the golden picture's expected boxes and scores."""

    px: float = Field(2.0, gt=0)
    score: Fraction = 0.05


class GoldenSpec(_StrictModel):
    """The golden picture: a file of the folder and the detections that the model must return."""

    picture: FileName
    expected: tuple[tuple[str, Fraction, BoxPixels], ...] = Field(
        min_length=1, max_length=_MOST_OBJECTS
    )
    """Label, score and (centre x, centre y, width, height) in pixels, best score first."""
    tolerance: Tolerance = Tolerance()


class Manifest(_StrictModel):
    """The whole file. Every field has a default, because the file itself is optional."""

    name: Name | None = None
    version: Name = "1"
    threshold: Fraction = 0.5
    iou: Fraction = 0.45
    resize: Resize | None = None
    """How pictures are fitted into the network's input; None leaves it to the .cfg."""
    accuracy_budget: Fraction = 0.01
    """The mAP that PRECISION=auto may lose to run faster than fp32."""
    files: dict[FileName, Digest] = Field(default={}, max_length=_MOST_FILES)
    golden: GoldenSpec | None = None


def read_manifest(folder: Path) -> Manifest:
    """Return the folder's model.yaml, or the defaults where it has none; raises ModelError."""
    path = folder / "model.yaml"
    # A dangling link is an error, not a missing file.
    if not os.path.lexists(path):
        return Manifest()
    return parse_manifest(read_text(path, _MOST_BYTES), path)


def parse_manifest(text: str, path: Path = Path("model.yaml")) -> Manifest:
    """Parse the text of a model.yaml; `path` only appears in errors. Raises ModelError."""
    return parse_strict_yaml(Manifest, text, path=path, most_depth=_MOST_DEPTH, error=ModelError)
