"""Trust on first use: the digest of a file whose digest no project states.

The first pull records the digest; every later pull must find the same content. The record is
outside of the model's folder, so that deleting the folder does not forget it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from elastic_yolo.detector.errors import ModelError
from elastic_yolo.detector.files import read_small
from elastic_yolo.durable import write_durable
from elastic_yolo.names import Digest
from elastic_yolo.provision.errors import ConfigError, WrongContent
from elastic_yolo.provision.zoo.table import ZooFile

_MOST_BYTES = 2**12
_CHUNK_BYTES = 2**20


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    """Version of the table's entry: a new one may have other content."""
    digest: Digest


def read_first_digest(path: Path, version: str) -> Digest | None:
    """Return the digest that the first pull of this version recorded, or None.

    Raises ConfigError for a damaged record.
    """
    if not path.exists():
        return None
    try:
        record = _Record.model_validate_json(read_small(path, _MOST_BYTES))
    except (ModelError, ValidationError):
        raise ConfigError(
            f"{path}: not a record of a first pull: delete it to trust the next pull"
        ) from None
    return record.digest if record.version == version else None


def write_first_digest(path: Path, version: str, digest: Digest) -> None:
    """Record the digest of a first pull; raises OSError."""
    write_durable(path, _Record(version=version, digest=digest).model_dump_json().encode())


def check_hashes(path: Path, file: ZooFile) -> None:
    """Compare a file with the hashes of other kinds that projects state; raises WrongContent."""
    for kind, expected in file.hashes.items():
        found = _hash(path, kind)
        if found != expected:
            raise WrongContent(f"{file.name}: expected {kind} {expected}, found {found}")


def _hash(path: Path, kind: str) -> str:
    digest = hashlib.new("md5" if kind == "md5" else "sha1", usedforsecurity=False)
    if kind == "git_blob":
        # https://git-scm.com/book/en/v2/Git-Internals-Git-Objects
        digest.update(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as opened:
        while chunk := opened.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
