"""models.yaml: which models a store is to have, and where they come from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    model_validator,
)

from elastic_yolo.detector.errors import ModelError
from elastic_yolo.detector.files import read_text
from elastic_yolo.detector.stated import parse_stated
from elastic_yolo.names import Digest, FileName, Word
from elastic_yolo.provision.errors import ConfigError

_MOST_BYTES = 2**20
# models, one model, files, one file, its digest; or channels.
_MOST_DEPTH = 6
# user:password@ in an address: it would end up in records and logs.
_HAS_KIND = re.compile(r"^[a-z][a-z0-9+.-]*:")
_CREDENTIALS = re.compile(r"^[a-z0-9+.-]+://[^/]*@")


def _check_name(name: object) -> object:
    if isinstance(name, str) and ("/" in name or name.startswith(".")):
        raise ValueError("a file's own name is needed: no folder, and no dot in front")
    return name


PlainName = Annotated[FileName, BeforeValidator(_check_name)]


class _Stated(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WantedFile(_Stated):
    """One file of a model."""

    source: str | None = None
    """Address, if it is not the model's source followed by the file's name."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None

    @property
    def digest(self) -> Digest | None:
        """What its content must be, as digests are written in a store."""
        return None if self.sha256 is None else f"sha256:{self.sha256}"


class WantedModel(_Stated):
    """One model."""

    name: Word
    version: Word | None = None
    """As its owner calls it; where it is left out, the source is asked which one it has now."""
    channels: tuple[Word, ...] = ("stable",)
    """What points at this version once it is there."""
    used_by: tuple[Word, ...] = ()
    """Services that need it; `--for` chooses by them."""
    source: str = ""
    """Address of the folder that has the files."""
    pictures: str = ""
    """Folder with pictures like those to come, seen as a relative source is.

    What is found in them becomes the reference for drift; with a cache they calibrate as well.
    """
    files: dict[PlainName, WantedFile] = Field(min_length=3, max_length=16)
    _folder: Path = PrivateAttr(default=Path())

    @model_validator(mode="after")
    def _check(self, info: ValidationInfo) -> Self:
        self._folder = (info.context or {}).get("folder", Path())
        for name in self.files:
            if _CREDENTIALS.match(self.address(name)):
                raise ValueError("credentials belong into the environment, not into an address")
        return self

    @property
    def pictures_folder(self) -> Path | None:
        """Where the pictures are."""
        return self._folder / self.pictures if self.pictures else None

    def address(self, name: str) -> str:
        """Return where a file comes from; a path is seen from the folder that models.yaml is in."""
        own = self.files[name].source
        address = own if own is not None else f"{self.source.rstrip('/')}/{name}"
        return address if _HAS_KIND.match(address) else str(self._folder / address)


class Wanted(_Stated):
    """The whole file."""

    models: tuple[WantedModel, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        pointed = [(model.name, channel) for model in self.models for channel in model.channels]
        for name, channel in pointed:
            if pointed.count((name, channel)) > 1:
                raise ValueError(f"{name}@{channel} cannot point at two versions")
        return self

    def used_by(self, services: list[str]) -> list[WantedModel]:
        """Return the models that one of `services` needs; all, if none is named.

        One that names no service is for everybody.
        """
        return [
            model
            for model in self.models
            if not services or not model.used_by or set(services) & set(model.used_by)
        ]


def read_wanted(path: Path) -> Wanted:
    """Read a models.yaml; raises ConfigError with the field or the line that is wrong."""
    try:
        text = read_text(path, _MOST_BYTES)
    except ModelError as error:
        raise ConfigError(str(error)) from error
    return parse_stated(
        Wanted,
        text,
        path=path,
        most_depth=_MOST_DEPTH,
        error=ConfigError,
        context={"folder": path.parent},
    )
