"""Collect the artefact cache together with the store: artefacts of versions that are gone.

A folder of the cache belongs to a store if the provisioner has made artefacts in it for that store,
or if a version of the store that is removed now has its key. Others, such as those of services with
a plain model folder, are left alone. All of it can be made again.
"""

from __future__ import annotations

import fcntl
import re
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from elastic_yolo.detector.artefacts import (
    MEASURING_LOCK,
    remove_abandoned,
    remove_tree,
)
from elastic_yolo.detector.model import digest_of_parts
from elastic_yolo.detector.model_files import find_model_files
from elastic_yolo.durable import UNFINISHED, write_atomic
from elastic_yolo.store.layout import Layout
from elastic_yolo.store.reader import list_models, list_versions
from elastic_yolo.store.records import VersionRecord

# Lines: the stores that artefacts were made for.
_OWNERS = ".stores"
# A digest, and the resize rule if it is not the default one: `Model.cache_key`.
_KEY = re.compile(r"([0-9a-f]{64})(-[a-z]+)?")


@dataclass(frozen=True)
class CacheCollected:
    """The folders of the cache that were removed, and the bytes that this frees."""

    folders: list[str]
    bytes: int


def note_owner(folder: Path, layout: Layout) -> None:
    """Note in a folder of the cache that it is made for the store at `layout`; raises OSError."""
    owners = _read_owners(folder)
    if str(layout.root) not in owners:
        _write_owners(folder, [*owners, str(layout.root)])


def model_digests(layout: Layout) -> dict[str, str]:
    """Return `Model.digest` of all versions of a store, by name/id as in `Collected.versions`.

    Raises StoreDamaged, or ModelError for a version without model files: its digest is unknown.
    """
    return {
        f"{name}/{record.id}": _model_digest(layout, name, record)
        for name in list_models(layout)
        for record in list_versions(layout, name)
    }


def collect_cache(
    cache: Path,
    layout: Layout,
    digests: Mapping[str, str],
    removed: Collection[str],
    *,
    dry_run: bool = False,
) -> CacheCollected:
    """Remove what no version of the store needs any more.

    `digests` are the `model_digests` of before, `removed` the versions that were removed since.

    A folder that a service measures into stays for the next run, and so does one that is made for
    another store as well. Unfinished files of killed processes go after an hour. Raises OSError.
    """
    needed = {digest for version, digest in digests.items() if version not in removed}
    gone = {digests[version] for version in removed}
    folders: list[str] = []
    size = 0
    for folder in _folders(cache):
        if not dry_run:
            size += remove_abandoned(folder)
        digest = "sha256:" + folder.name[:64]
        owners = _read_owners(folder)
        is_ours = str(layout.root) in owners or (digest in gone and not owners)
        if digest in needed or not is_ours:
            continue
        others = [one for one in owners if one != str(layout.root)]
        if others and not dry_run:
            _write_owners(folder, others)
        if not others:
            freed = _size(folder) if dry_run else _remove(folder)
            if freed is not None:
                folders.append(folder.name)
                size += freed
    if not dry_run and cache.is_dir():
        size += remove_abandoned(cache)
    return CacheCollected(folders, size)


def _model_digest(layout: Layout, name: str, record: VersionRecord) -> str:
    """Return `Model.digest` of a version; the record has the digests of its files."""
    files = find_model_files(layout.version(name, record.id))
    parts = (files.cfg, files.weights, files.names)
    return digest_of_parts([record.files[path.name].digest for path in parts])


def _folders(cache: Path) -> list[Path]:
    if not cache.is_dir():
        return []
    found = (path for path in cache.iterdir() if _KEY.fullmatch(path.name))
    return sorted(path for path in found if path.is_dir() and not path.is_symlink())


def _remove(folder: Path) -> int | None:
    """Remove a folder unless a service measures into it; returns its size in bytes."""
    with _locked(folder) as is_free:
        if not is_free:
            return None
        size = _size(folder)
        # Out of the way at once, so that no reader finds half of an artefact.
        away = Path(tempfile.mkdtemp(dir=folder.parent, prefix=UNFINISHED))
        folder.rename(away / folder.name)
        with suppress(OSError):
            remove_tree(away)
        return size


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold the lock of a measurement; yields false if another process has it."""
    try:
        file = (folder / MEASURING_LOCK).open("rb")
    except FileNotFoundError:
        # Nothing has ever been measured there.
        yield True
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _read_owners(folder: Path) -> list[str]:
    try:
        return (folder / _OWNERS).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []


def _write_owners(folder: Path, owners: list[str]) -> None:
    write_atomic(folder / _OWNERS, "".join(f"{one}\n" for one in owners).encode())


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
