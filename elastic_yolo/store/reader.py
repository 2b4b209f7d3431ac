"""Read a store. Nothing here writes, so the volume may be mounted read-only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from elastic_yolo.store.errors import NotInStore
from elastic_yolo.store.layout import Layout
from elastic_yolo.store.records import ChannelRecord, VersionRecord, read_record
from elastic_yolo.store.reference import Reference

# A version may be removed between reading the channel and opening the version.
_ATTEMPTS = 3


@dataclass(frozen=True)
class Published:
    """A published version: `folder` is a model folder."""

    folder: Path
    record: VersionRecord


def resolve(reference: Reference) -> Published:
    """Return the version that a channel points at now; raises NotInStore or StoreDamaged."""
    layout = Layout(reference.root)
    for attempt in range(_ATTEMPTS):
        identity = current_version_id(reference)
        try:
            return find_version(layout, reference.name, identity)
        except NotInStore:
            if attempt == _ATTEMPTS - 1 or current_version_id(reference) == identity:
                raise
    raise AssertionError("unreachable: the loop returns or raises")


def current_version_id(reference: Reference) -> str:
    """Return the id of the version that a channel points at; raises like `resolve`."""
    return _channel(reference).id


def earlier_version_ids(reference: Reference) -> list[str]:
    """Return the ids of a channel's previous versions, latest first; raises like `resolve`."""
    return _channel(reference).earlier


def _channel(reference: Reference) -> ChannelRecord:
    path = Layout(reference.root).channel(reference.name, reference.channel)
    try:
        return read_record(ChannelRecord, path)
    except NotInStore:
        raise NotInStore(f"{reference}: no such model or channel in this store") from None


def model_exists(reference: Reference) -> bool:
    """Return whether the store has a model of this name, with any channel."""
    return Layout(reference.root).channels(reference.name).is_dir()


def find_version(layout: Layout, name: str, identity: str) -> Published:
    """Return a version by its id; raises NotInStore or StoreDamaged."""
    record = read_record(VersionRecord, layout.version_record(name, identity))
    folder = layout.version(name, identity)
    if not folder.is_dir():
        raise NotInStore(f"{folder}: does not exist")
    return Published(folder, record)


def require_store(layout: Layout) -> None:
    """Raise NotInStore unless there is a store, which may be empty."""
    if not (layout.models.is_dir() or layout.lock.is_file()):
        exists = layout.root.is_dir()
        raise NotInStore(
            f"{layout.root}: " + ("is not a model store" if exists else "no such folder")
        )


def list_models(layout: Layout) -> list[str]:
    """Return the names of all models."""
    return _names(layout.models)


def list_channels(layout: Layout, name: str) -> dict[str, ChannelRecord]:
    """Return a model's channels by name."""
    files = [path for path in _files(layout.channels(name)) if path.suffix == ".json"]
    return {path.stem: read_record(ChannelRecord, path) for path in files}


def list_versions(layout: Layout, name: str) -> list[VersionRecord]:
    """Return a model's versions, oldest first."""
    files = [path for path in _files(layout.versions(name)) if path.suffix == ".json"]
    return sorted((read_record(VersionRecord, path) for path in files), key=lambda r: r.created)


def _names(folder: Path) -> list[str]:
    return [path.name for path in _files(folder)]


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except FileNotFoundError:
        return []
