"""Read a store: never writes, so that a read-only volume will do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from elastic_yolo.store.errors import NotInStore
from elastic_yolo.store.layout import Layout
from elastic_yolo.store.records import ChannelRecord, VersionRecord, read_record
from elastic_yolo.store.reference import Reference

# A version may be removed just when a channel has been switched away from it.
_ATTEMPTS = 3


@dataclass(frozen=True)
class Published:
    """A version that can be read: `folder` is a model folder."""

    folder: Path
    record: VersionRecord


def resolve(reference: Reference) -> Published:
    """Return the version that a channel points at now; raises NotInStore or StoreDamaged."""
    layout = Layout(reference.root)
    for attempt in range(_ATTEMPTS):
        identity = current(reference)
        try:
            return find_version(layout, reference.name, identity)
        except NotInStore:
            if attempt == _ATTEMPTS - 1 or current(reference) == identity:
                raise
    raise AssertionError("the loop ends otherwise")


def current(reference: Reference) -> str:
    """Return the id of the version that a channel points at; raises as `resolve` does."""
    return _channel(reference).id


def earlier(reference: Reference) -> list[str]:
    """Return where a channel pointed before, the latest first; raises as `resolve` does."""
    return _channel(reference).earlier


def _channel(reference: Reference) -> ChannelRecord:
    path = Layout(reference.root).channel(reference.name, reference.channel)
    try:
        return read_record(ChannelRecord, path)
    except NotInStore:
        raise NotInStore(f"{reference}: no such model or channel in this store") from None


def has_channels(reference: Reference) -> bool:
    """Say whether the store and the model are there, whatever channels there are."""
    return Layout(reference.root).channels(reference.name).is_dir()


def find_version(layout: Layout, name: str, identity: str) -> Published:
    """Return a version by its id; raises NotInStore or StoreDamaged."""
    record = read_record(VersionRecord, layout.version_record(name, identity))
    folder = layout.version(name, identity)
    if not folder.is_dir():
        raise NotInStore(f"{folder}: not there")
    return Published(folder, record)


def list_models(layout: Layout) -> list[str]:
    """Return the names of all models."""
    return _names(layout.models)


def list_channels(layout: Layout, name: str) -> dict[str, ChannelRecord]:
    """Return a model's channels by name."""
    files = [path for path in _files(layout.channels(name)) if path.suffix == ".json"]
    return {path.stem: read_record(ChannelRecord, path) for path in files}


def list_versions(layout: Layout, name: str) -> list[VersionRecord]:
    """Return a model's versions, the oldest first."""
    files = [path for path in _files(layout.versions(name)) if path.suffix == ".json"]
    return sorted((read_record(VersionRecord, path) for path in files), key=lambda r: r.created)


def _names(folder: Path) -> list[str]:
    return [path.name for path in _files(folder)]


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except FileNotFoundError:
        return []
