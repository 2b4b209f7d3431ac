"""The optional model.yaml of a model folder: what its owner states about the model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from detector.errors import ModelError

Fraction = Annotated[float, Field(ge=0, le=1)]
BoxPixels = tuple[float, float, float, float]


class _Stated(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Tolerance(_Stated):
    """How far an answer may lie from the expected one."""

    px: float = Field(2.0, gt=0)
    score: Fraction = 0.05


class GoldenStatement(_Stated):
    """A picture in the folder, and what the model must find in it."""

    picture: str
    expected: tuple[tuple[str, Fraction, BoxPixels], ...] = Field(min_length=1)
    """Label, score and (centre x, centre y, width, height) in pixels, best score first."""
    tolerance: Tolerance = Tolerance()


class Manifest(_Stated):
    """The whole file. Everything has a default, because the file itself is optional."""

    name: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    version: str = Field("1", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    threshold: Fraction = 0.5
    iou: Fraction = 0.45
    files: dict[str, Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]] = {}
    golden: GoldenStatement | None = None


def read_manifest(folder: Path) -> Manifest:
    """Return the folder's model.yaml, or the defaults where it has none; raises ModelError."""
    path = folder / "model.yaml"
    if not path.exists():
        return Manifest()
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Manifest.model_validate(content or {})
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f":{where.line + 1}" if where else ""
        raise ModelError(f"{path}{line}: not valid YAML") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"{path}: {field}: {first['msg']}") from error
