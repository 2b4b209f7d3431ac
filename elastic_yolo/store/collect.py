"""Garbage collection: remove unused versions and files. The caller must hold the store's lock."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from elastic_yolo.durable import UNFINISHED, sync_folder
from elastic_yolo.store.layout import Layout
from elastic_yolo.store.reader import list_channels, list_models, list_versions
from elastic_yolo.store.records import VersionRecord

# A later run can resume a partial download for this long.
_INCOMING_S = 7 * 24 * 3600
# A reader that resolved a channel just before it was switched still needs the old version.
_GRACE_S = 600.0


@dataclass(frozen=True)
class Collected:
    """The versions that were removed, as name/id, and the bytes that this frees."""

    versions: list[str]
    bytes: int


def collect(layout: Layout, keep: int, *, dry_run: bool = False) -> Collected:
    """Remove all versions except the newest `keep` of each model and those that a channel needs.

    A channel needs its current and its previous version, and for ten minutes after a switch all
    earlier ones; a pinned one also the version that the configuration names, which the next run of
    the provisioner would otherwise download again. Also removes files that no version uses, and
    unfinished files of killed writers.
    With `dry_run` nothing is removed. Raises OSError or StoreDamaged.
    """
    removed: list[str] = []
    for name in list_models(layout):
        for record in _unused_versions(layout, name, keep):
            removed.append(f"{name}/{record.id}")
            if not dry_run:
                _remove_version(layout, name, record.id)
    paths = [] if dry_run else list(_unfinished(layout))
    paths += _unused_blobs(layout, set(removed))
    size = sum(_size(path) for path in paths)
    if not dry_run:
        for path in paths:
            _remove(path)
    return Collected(removed, size)


def used_bytes(layout: Layout) -> int:
    """Return the bytes of blobs and partial downloads; hard links of versions take no space."""
    incoming = [path for path in _entries(layout.incoming) if path.suffix != ".json"]
    return sum(_size(path) for path in _entries(layout.blobs) + incoming)


def _unused_versions(layout: Layout, name: str, keep: int) -> list[VersionRecord]:
    versions = list_versions(layout, name)
    needed = {record.id for record in versions[len(versions) - keep :]} if keep else set()
    for channel in list_channels(layout, name).values():
        needed |= {channel.id, *channel.earlier[:1]}
        if channel.rolled_back_from is not None:
            needed.add(channel.rolled_back_from)
        if _since_last_switch_s(layout, name) < _GRACE_S:
            needed |= set(channel.earlier)
    return [record for record in versions if record.id not in needed]


def _since_last_switch_s(layout: Layout, name: str) -> float:
    """Return the seconds since any channel of a model was switched."""
    return time.time() - max(
        (path.stat().st_mtime for path in _entries(layout.channels(name))), default=0.0
    )


def _remove_version(layout: Layout, name: str, identity: str) -> None:
    # The record first: without it readers do not see the version.
    layout.version_record(name, identity).unlink(missing_ok=True)
    sync_folder(layout.versions(name))
    shutil.rmtree(layout.version(name, identity), ignore_errors=True)


def _unused_blobs(layout: Layout, removed: set[str]) -> list[Path]:
    needed = {
        file.digest
        for name in list_models(layout)
        for record in list_versions(layout, name)
        if f"{name}/{record.id}" not in removed
        for file in record.files.values()
    }
    return [path for path in _entries(layout.blobs) if f"sha256:{path.name}" not in needed]


def _unfinished(layout: Layout) -> Iterator[Path]:
    """Yield unfinished files and folders; their writers have ended, since we hold the lock."""
    for path in _entries(layout.incoming):
        if time.time() - path.stat().st_mtime > _INCOMING_S:
            yield path
    for folder in (layout.root, layout.blobs, *layout.models.glob("*/*")):
        yield from (path for path in _entries(folder) if path.name.startswith(UNFINISHED))


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
