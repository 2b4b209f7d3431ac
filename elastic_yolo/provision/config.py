"""models.yaml: the models that a store should have, and their sources."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

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
from elastic_yolo.names import Digest, FileName, Name
from elastic_yolo.provision.errors import ConfigError
from elastic_yolo.provision.zoo.folder import models_yaml_entry
from elastic_yolo.provision.zoo.table import UnknownZooModel
from elastic_yolo.strict_yaml import parse_strict_yaml

_MOST_BYTES = 2**20
# Nesting: models, one model, files, one file, its sources, an address.
_MOST_DEPTH = 7
# user:password@ in an address would appear in records and logs.
_HAS_KIND = re.compile(r"^[a-z][a-z0-9+.-]*:")
_CREDENTIALS = re.compile(r"^[a-z0-9+.-]+://[^/]*@")


def _check_name(name: object) -> object:
    if isinstance(name, str) and ("/" in name or name.startswith(".")):
        raise ValueError("expected a file name without a folder and without a leading dot")
    return name


PlainName = Annotated[FileName, BeforeValidator(_check_name)]


class _StrictModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileConfig(_StrictModel):
    """One file of a model."""

    source: str | None = None
    """Address of the file; the default is the model's source followed by the file's name."""
    sources: tuple[str, ...] = Field(default=(), max_length=16)
    """Several addresses of the file, tried in this order, instead of `source`."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.source is not None and self.sources:
            raise ValueError("expected source or sources, not both")
        return self

    @property
    def addresses(self) -> tuple[str, ...]:
        """The file's own addresses; empty if it is at the model's source."""
        return self.sources if self.source is None else (self.source,)

    @property
    def digest(self) -> Digest | None:
        """The expected digest in the form of the store, or None."""
        return None if self.sha256 is None else f"sha256:{self.sha256}"


class ModelConfig(_StrictModel):
    """One model."""

    name: Name
    version: Name | None = None
    """The owner's version; by default the current version of the source."""
    channels: tuple[Name, ...] = ("stable",)
    """Channels that are switched to this version once it is published."""
    used_by: tuple[Name, ...] = ()
    """Services that need the model, for `--for`; empty for all services."""
    source: str = ""
    """Address of the folder with the files."""
    zoo: str = ""
    """Name of a model of the zoo, which gives source, version and files."""
    pictures: str = ""
    """Folder with typical pictures, relative to models.yaml.

    Detections on them become the drift reference; with a cache they also calibrate int8.
    """
    files: dict[PlainName, FileConfig] = Field(min_length=3, max_length=16)
    _folder: Path = PrivateAttr(default=Path())

    @model_validator(mode="before")
    @classmethod
    def _from_zoo(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "zoo" not in data:
            return data
        if not isinstance(data["zoo"], str) or not data["zoo"]:
            raise ValueError(
                "zoo: expected the name of a model: `elastic-yolo models list` prints all"
            )
        if "source" in data or "files" in data:
            raise ValueError("zoo gives source and files: remove these, or zoo")
        try:
            return {**models_yaml_entry(data["zoo"]), **data}
        except UnknownZooModel as error:
            raise ValueError(str(error)) from None

    @model_validator(mode="after")
    def _check(self, info: ValidationInfo) -> Self:
        self._folder = (info.context or {}).get("folder", Path())
        for name in self.files:
            if any(map(_CREDENTIALS.match, self.addresses(name))):
                raise ValueError("credentials belong in the environment, not in an address")
        return self

    def with_digests(self, digests: Mapping[str, Digest]) -> Self:
        """Return the model with these digests of its files, by name."""
        files = {
            name: file.model_copy(update={"sha256": digests[name].removeprefix("sha256:")})
            for name, file in self.files.items()
        }
        return self.model_copy(update={"files": files})

    @property
    def pictures_folder(self) -> Path | None:
        """The folder with the pictures, or None."""
        return self._folder / self.pictures if self.pictures else None

    def addresses(self, name: str) -> tuple[str, ...]:
        """Return the addresses of a file; a relative path starts at the folder of models.yaml."""
        stated = self.files[name].addresses or (f"{self.source.rstrip('/')}/{name}",)
        return tuple(
            address if _HAS_KIND.match(address) else str(self._folder / address)
            for address in stated
        )


class ModelsConfig(_StrictModel):
    """The whole file."""

    models: tuple[ModelConfig, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        pointed: dict[tuple[str, str], ModelConfig] = {}
        for model in self.models:
            for channel in model.channels:
                other = pointed.setdefault((model.name, channel), model)
                if other is not model:
                    raise ValueError(_why_not_both(other, model, channel))
        return self

    def used_by(self, services: list[str]) -> list[ModelConfig]:
        """Return the models that one of `services` needs; all models if `services` is empty.

        A model without `used_by` is for all services.
        """
        return [
            model
            for model in self.models
            if not services or not model.used_by or set(services) & set(model.used_by)
        ]


def _why_not_both(first: ModelConfig, second: ModelConfig, channel: str) -> str:
    """Return why a channel cannot point at both models of one name."""
    if first == second or (first.version == second.version is not None):
        return f"{first.name}: two entries of the same version: remove one"
    return f"{first.name}@{channel} cannot point at two versions"


def read_models_config(path: Path) -> ModelsConfig:
    """Read a models.yaml; raises ConfigError with the invalid field or line."""
    try:
        text = read_text(path, _MOST_BYTES)
    except ModelError as error:
        raise ConfigError(str(error)) from error
    return parse_strict_yaml(
        ModelsConfig,
        text,
        path=path,
        most_depth=_MOST_DEPTH,
        error=ConfigError,
        context={"folder": path.parent},
    )
