"""The optional model.yaml of a model folder: what its owner states about the model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from elastic_yolo.detector.errors import ModelError
from elastic_yolo.detector.files import read_text
from elastic_yolo.detector.stated import parse_stated
from elastic_yolo.names import Digest, FileName, Word

# A golden picture with a hundred objects takes 6 kB.
_MOST_BYTES = 2**15
# golden, expected, one object, its box, a number.
_MOST_DEPTH = 6
# Of files whose digests are stated, and of objects in a picture.
_MOST_FILES = 16
_MOST_OBJECTS = 500

Fraction = Annotated[float, Field(ge=0, le=1)]
BoxPixels = tuple[float, float, float, float]


class _Stated(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Tolerance(_Stated):
    """How far an answer may lie from the expected one."""

    px: float = Field(2.0, gt=0)
    score: Fraction = 0.05


class GoldenStatement(_Stated):
    """A picture in the folder, and what the model must find in it."""

    picture: FileName
    expected: tuple[tuple[str, Fraction, BoxPixels], ...] = Field(
        min_length=1, max_length=_MOST_OBJECTS
    )
    """Label, score and (centre x, centre y, width, height) in pixels, best score first."""
    tolerance: Tolerance = Tolerance()


class Manifest(_Stated):
    """The whole file. Everything has a default, because the file itself is optional."""

    name: Word | None = None
    version: Word = "1"
    threshold: Fraction = 0.5
    iou: Fraction = 0.45
    accuracy_budget: Fraction = 0.01
    """How much of its mAP the model may lose where PRECISION=auto makes it faster."""
    files: dict[FileName, Digest] = Field(default={}, max_length=_MOST_FILES)
    golden: GoldenStatement | None = None


def read_manifest(folder: Path) -> Manifest:
    """Return the folder's model.yaml, or the defaults where it has none; raises ModelError."""
    path = folder / "model.yaml"
    # A link to nowhere is a mistake to tell of, not a missing file.
    if not os.path.lexists(path):
        return Manifest()
    return parse_manifest(read_text(path, _MOST_BYTES), path)


def parse_manifest(text: str, path: Path = Path("model.yaml")) -> Manifest:
    """Return what a model.yaml states; `path` is only named in errors."""
    return parse_stated(Manifest, text, path=path, most_depth=_MOST_DEPTH, error=ModelError)
