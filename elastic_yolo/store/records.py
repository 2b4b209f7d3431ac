"""What is written beside the files: what a version consists of, and where a channel points."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from elastic_yolo.names import Digest, FileName, Word
from elastic_yolo.store.errors import NotInStore, StoreDamaged

_MOST_BYTES = 2**20


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class FileRecord(_Record):
    """One file of a version."""

    digest: Digest
    size: int = Field(ge=0)
    """In bytes."""


class VersionRecord(_Record):
    """A version of a model: it never changes."""

    name: Word
    version: Word
    """As its owner calls it; two contents may have the same, by mistake or by habit."""
    digest: Digest
    """Of all names and digests together."""
    files: dict[FileName, FileRecord]
    source: str
    """Where it came from, without credentials."""
    created: str
    """UTC, ISO 8601."""

    @property
    def id(self) -> str:
        """The name of its folder: what the owner calls it, and what it is."""
        return f"{self.version}-{self.digest.removeprefix('sha256:')[:12]}"


class ChannelRecord(_Record):
    """Where a channel points."""

    id: Word
    """Of the version."""
    since: str
    """UTC, ISO 8601."""
    earlier: list[Word] = []
    """Where it pointed before, the latest first."""


R = TypeVar("R", bound=_Record)


def read_record(kind: type[R], path: Path) -> R:
    """Read a record; raises NotInStore if there is none, StoreDamaged if it is no such record."""
    try:
        with path.open("rb") as file:
            return kind.model_validate_json(file.read(_MOST_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        raise NotInStore(f"{path}: not there") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise StoreDamaged(f"{path}: {first['msg']}") from None
    except OSError as error:
        raise StoreDamaged(f"{path}: cannot be read: {error.strerror or error}") from error


def to_json(record: _Record) -> bytes:
    """Return a record as a person can read it."""
    return record.model_dump_json(indent=1).encode() + b"\n"
