"""The table of the zoo: one YAML file in `entries/` for each model, beside the shipped files."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from elastic_yolo.detector.files import read_text
from elastic_yolo.detector.manifest import GoldenSpec
from elastic_yolo.names import Digest, FileName, Name, Resize, nearest_names
from elastic_yolo.provision.errors import ConfigError
from elastic_yolo.strict_yaml import parse_strict_yaml

ENTRIES = Path(__file__).parent / "entries"

_MOST_BYTES = 2**16
# Nesting: golden, expected, one object, its box, a number.
_MOST_DEPTH = 6

Hash = Literal["sha1", "md5", "git_blob"]


class UnknownZooModel(ConfigError):
    """The zoo has no model of that name."""


class _StrictModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ShippedFile(_StrictModel):
    """A file that this package contains: a .names, or a .cfg of Debian's package darknet."""

    name: FileName
    size: int = Field(gt=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    source: str
    """Where the file was published."""

    @property
    def digest(self) -> Digest:
        """The digest in the form of the store."""
        return f"sha256:{self.sha256}"

    @property
    def path(self) -> Path:
        """The file in this package."""
        return ENTRIES / self.name


class ZooFile(_StrictModel):
    """A file that is downloaded: weights, or a .cfg that is not shipped."""

    name: FileName
    size: int = Field(gt=0)
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """None if no project states it: the first pull records it."""
    hashes: dict[Hash, Annotated[str, Field(pattern=r"^[0-9a-f]{32,40}$")]] = {}
    """Hashes of other kinds that projects state, for a file without `sha256`."""
    sources: tuple[str, ...] = Field(min_length=1, max_length=16)
    """Addresses in the order in which they are tried."""
    stated_by: tuple[str, ...] = ()
    """Projects that state the digest or, without one, the hashes."""

    @property
    def digest(self) -> Digest | None:
        """The digest in the form of the store, or None."""
        return None if self.sha256 is None else f"sha256:{self.sha256}"


class Accuracy(_StrictModel):
    """Accuracy as the authors published it."""

    dataset: str
    metric: str
    value: float = Field(gt=0, le=100)
    """In percent."""
    input: int = Field(gt=0)
    """Width and height of the network's input."""
    source: str


class ZooModel(_StrictModel):
    """One model of the zoo."""

    name: Name
    title: str
    version: Name
    """Year of publication and revision of the entry: another content has another version."""
    licence: str
    licence_source: str
    resize: Resize | None = None
    """How pictures are fitted in the program that the authors trained and measured with."""
    input: tuple[int, int]
    """Width and height in the .cfg."""
    classes: int = Field(gt=0)
    gflop: float = Field(gt=0)
    """Of the convolutions of one picture at the size in the .cfg."""
    accuracy: Accuracy | None = None
    cfg: ShippedFile | ZooFile
    names: ShippedFile
    weights: ZooFile
    golden: GoldenSpec | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.cfg.sha256 is None:
            raise ValueError("cfg: expected sha256: the content of a .cfg is known")
        return self

    @property
    def shipped(self) -> dict[FileName, Path]:
        """The files that this package contains, by their names in a model folder."""
        files = {self.names.name: self.names.path}
        if isinstance(self.cfg, ShippedFile):
            files[self.cfg.name] = self.cfg.path
        if self.golden is not None:
            files[self.golden.picture] = ENTRIES / self.golden.picture
        return files

    @property
    def downloaded(self) -> tuple[ZooFile, ...]:
        """The files that are downloaded, in this order: the small one first."""
        return (self.cfg, self.weights) if isinstance(self.cfg, ZooFile) else (self.weights,)


@cache
def zoo_names() -> list[str]:
    """Return the names of all models, sorted."""
    return sorted(path.stem for path in ENTRIES.glob("*.yaml"))


def is_zoo_name(name: str) -> bool:
    """Return whether the zoo has a model of that name."""
    return name in zoo_names()


def nearest_zoo_names(name: str) -> list[str]:
    """Return up to three names of the zoo that resemble `name`, best first."""
    return nearest_names(name, zoo_names(), most=3)


@cache
def find_zoo_model(name: str) -> ZooModel:
    """Return a model by name; raises UnknownZooModel with the nearest names."""
    if not is_zoo_name(name):
        near = nearest_zoo_names(name)
        hint = f"; the nearest are {', '.join(near)}" if near else ""
        raise UnknownZooModel(
            f"{name}: no such model in the zoo{hint}; `elastic-yolo models list` prints all"
        )
    path = ENTRIES / f"{name}.yaml"
    text = f"name: {name}\n{read_text(path, _MOST_BYTES)}"
    return parse_strict_yaml(ZooModel, text, path=path, most_depth=_MOST_DEPTH, error=ConfigError)
