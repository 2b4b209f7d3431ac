"""The JSON records of versions and channels."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from elastic_yolo.names import Digest, FileName, Name
from elastic_yolo.store.errors import NotInStore, StoreDamaged

_MOST_BYTES = 2**20


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class FileRecord(_Record):
    """One file of a version."""

    digest: Digest
    size: int = Field(ge=0)
    """Size in bytes."""


class VersionRecord(_Record):
    """An immutable version of a model."""

    name: Name
    version: Name
    """The owner's version; not unique, because owners may reuse one for other content."""
    digest: Digest
    """Digest over the names and digests of all files."""
    files: dict[FileName, FileRecord]
    source: str
    """Source address, without credentials."""
    created: str
    """Time in UTC, ISO 8601."""

    @property
    def id(self) -> str:
        """Unique id, also the folder's name: the owner's version and part of the digest."""
        return f"{self.version}-{self.digest.removeprefix('sha256:')[:12]}"


class ChannelRecord(_Record):
    """The version that a channel points at."""

    id: Name
    """Id of the version."""
    since: str
    """Time of the switch in UTC, ISO 8601."""
    earlier: list[Name] = []
    """Ids of previous versions, latest first."""
    rolled_back_from: Name | None = None
    """Id of the version that the channel had before its rollbacks, which pins the channel.

    While the configuration names this version, the channel is not switched. The pin is part of this
    record so that one atomic write makes both; older programs ignore it.
    """


R = TypeVar("R", bound=_Record)


def read_record(kind: type[R], path: Path) -> R:
    """Read a record; raises NotInStore if it does not exist, StoreDamaged if it is invalid."""
    try:
        with path.open("rb") as file:
            return kind.model_validate_json(file.read(_MOST_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        raise NotInStore(f"{path}: does not exist") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise StoreDamaged(f"{path}: {first['msg']}") from None
    except OSError as error:
        raise StoreDamaged(f"{path}: cannot be read: {error.strerror or error}") from error


def to_json(record: _Record) -> bytes:
    """Return a record as indented JSON with a final newline."""
    return record.model_dump_json(indent=1).encode() + b"\n"
