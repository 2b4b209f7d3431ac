"""Publish versions in a store and switch channels. The caller must hold the store's lock."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from elastic_yolo.digest import digest_of_bytes, digest_of_file
from elastic_yolo.durable import UNFINISHED, make_folder, publish_folder, sync_folder, write_durable
from elastic_yolo.store.errors import NotInStore, StoreDamaged
from elastic_yolo.store.layout import Layout
from elastic_yolo.store.reader import find_version
from elastic_yolo.store.records import (
    ChannelRecord,
    FileRecord,
    VersionRecord,
    read_record,
    to_json,
)

# Errors of link() on file systems without hard links.
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_MOST_EARLIER = 20

Check = Callable[[Path], None]
"""Checks a model folder before it is published; raises to refuse it."""


class Writer:
    """Writes to the store at `layout`; after every step the store is consistent."""

    def __init__(self, layout: Layout) -> None:
        """Use a store; creates nothing yet."""
        self.layout = layout

    def add_blob(self, file: Path, digest: str) -> FileRecord:
        """Move a complete file, already synced to disk, into the store under its digest.

        If the store already has the blob, `file` is deleted: versions share blobs. A damaged one is
        replaced. Raises OSError.
        """
        make_folder(self.layout.blobs)
        blob, size = self.layout.blob(digest), file.stat().st_size
        known = self.find_blob(digest)
        if known is not None:
            if not file.samefile(blob):
                file.unlink()
            return known
        file.chmod(0o444)
        file.replace(blob)
        sync_folder(blob.parent)
        return FileRecord(digest=digest, size=size)

    def restore_blob(self, digest: str, file: Path) -> bool:
        """Replace a missing or damaged blob by another file if that has the digest.

        Returns whether the blob is whole now; otherwise there is none. Raises OSError.
        """
        blob = self.layout.blob(digest)
        blob.unlink(missing_ok=True)
        if not _has_digest(file, digest):
            return False
        link_or_copy(file, blob)
        sync_folder(blob.parent)
        return True

    def find_blob(self, digest: str) -> FileRecord | None:
        """Return the record of a blob, or None if the store does not have it undamaged."""
        blob = self.layout.blob(digest)
        if not _has_digest(blob, digest):
            return None
        return FileRecord(digest=digest, size=blob.stat().st_size)

    @contextmanager
    def temporary_folder(self, files: Mapping[str, FileRecord]) -> Iterator[Path]:
        """Provide a temporary folder with these files under their own names."""
        make_folder(self.layout.incoming)
        with tempfile.TemporaryDirectory(dir=self.layout.incoming, prefix=UNFINISHED) as folder:
            for name, file in files.items():
                link_or_copy(self.layout.blob(file.digest), Path(folder) / name)
            yield Path(folder)

    def publish(
        self,
        name: str,
        version: str,
        files: Mapping[str, FileRecord],
        source: str,
        check: Check,
    ) -> VersionRecord:
        """Publish a version of blobs that are in the store, unless it exists; returns its record.

        If `check` raises, the version is not published. Raises OSError.
        """
        record = VersionRecord(
            name=name,
            version=version,
            digest=digest_of_files(files),
            files=dict(sorted(files.items())),
            source=source,
            created=now(),
        )
        try:
            return find_version(self.layout, name, record.id).record
        except (NotInStore, StoreDamaged):
            # New, or a killed writer has left its folder without a record.
            self.write(record, check)
            return record

    def switch_channel(self, name: str, channel: str, identity: str) -> bool:
        """Point a channel at a version, which ends a pin; returns whether it had another version.

        Raises NotInStore if the version does not exist.
        """
        find_version(self.layout, name, identity)
        before = self.find_channel(name, channel)
        if before is not None and before.id == identity:
            self._unpin(name, channel, before)
            return False
        earlier = [] if before is None else [before.id, *before.earlier]
        kept = [one for one in dict.fromkeys(earlier) if one != identity][:_MOST_EARLIER]
        self._write_channel(name, channel, ChannelRecord(id=identity, since=now(), earlier=kept))
        return True

    def roll_back(self, name: str, channel: str) -> ChannelRecord:
        """Point a channel at its previous version and pin it there; returns its new record.

        A second rollback keeps the pin of the first: the configuration still names the version that
        the channel had before both. Raises NotInStore if no previous version exists.
        """
        before = self._require_channel(name, channel)
        pin = before.rolled_back_from or before.id
        for number, identity in enumerate(before.earlier):
            try:
                find_version(self.layout, name, identity)
            except NotInStore:
                continue
            rest = before.earlier[number + 1 :]
            record = ChannelRecord(id=identity, since=now(), earlier=rest, rolled_back_from=pin)
            self._write_channel(name, channel, record)
            return record
        raise NotInStore(f"{name}@{channel}: no earlier version exists any more")

    def release(self, name: str, channel: str) -> ChannelRecord:
        """End the pin of a channel if it has one; returns the record that it had.

        Raises NotInStore if the channel does not exist.
        """
        before = self._require_channel(name, channel)
        self._unpin(name, channel, before)
        return before

    def find_channel(self, name: str, channel: str) -> ChannelRecord | None:
        """Return the record of a channel, or None if it does not exist; raises StoreDamaged."""
        try:
            return read_record(ChannelRecord, self.layout.channel(name, channel))
        except NotInStore:
            return None

    def _require_channel(self, name: str, channel: str) -> ChannelRecord:
        record = self.find_channel(name, channel)
        if record is None:
            raise NotInStore(f"{name}@{channel}: no such model or channel in this store")
        return record

    def _unpin(self, name: str, channel: str, record: ChannelRecord) -> None:
        if record.rolled_back_from is not None:
            released = record.model_copy(update={"rolled_back_from": None})
            self._write_channel(name, channel, released)

    def _write_channel(self, name: str, channel: str, record: ChannelRecord) -> None:
        make_folder(self.layout.channels(name))
        write_durable(self.layout.channel(name, channel), to_json(record))

    def write(self, record: VersionRecord, check: Check) -> None:
        """Publish the blobs of a record as its version; one that is there is replaced.

        Raises what `check` raises, and OSError.
        """
        versions = self.layout.versions(record.name)
        make_folder(versions)
        folder = self.layout.version(record.name, record.id)
        unfinished = Path(tempfile.mkdtemp(dir=versions, prefix=UNFINISHED))
        try:
            for name, file in record.files.items():
                link_or_copy(self.layout.blob(file.digest), unfinished / name)
            check(unfinished)
            _remove(folder)
            publish_folder(unfinished, folder)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        # Readers look for the record: writing it publishes the version.
        write_durable(self.layout.version_record(record.name, record.id), to_json(record))


def _remove(folder: Path) -> None:
    """Remove a version's folder if there is one, which then is missing at once and not in parts."""
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=UNFINISHED))
    with suppress(FileNotFoundError):
        folder.rename(aside / folder.name)
    shutil.rmtree(aside, ignore_errors=True)


def digest_of_files(files: Mapping[str, FileRecord]) -> str:
    """Return one digest over names and digests of all files."""
    lines = (f"{file.digest} {name}\n" for name, file in sorted(files.items()))
    return digest_of_bytes("".join(lines).encode())


def link_or_copy(file: Path, path: Path) -> None:
    """Hard-link a file, or copy it if the file system has no hard links."""
    try:
        os.link(file, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(file, path)
        path.chmod(0o444)
        with path.open("rb") as copy:
            os.fsync(copy.fileno())


def verify_blob(layout: Layout, digest: str) -> None:
    """Read a blob and check its digest; raises StoreDamaged if it is missing or differs."""
    blob = layout.blob(digest)
    try:
        found = digest_of_file(blob)
    except OSError as error:
        raise StoreDamaged(f"{blob}: cannot be read: {error.strerror}") from error
    if found != digest:
        raise StoreDamaged(f"{blob}: wrong digest: found {found}")


def damaged_blobs(layout: Layout, record: VersionRecord) -> list[str]:
    """Return the names of the version's files whose blobs are missing or have another digest.

    Raises OSError.
    """
    return [
        name
        for name, file in record.files.items()
        if not _has_digest(layout.blob(file.digest), file.digest)
    ]


def damaged_copies(layout: Layout, record: VersionRecord) -> list[str]:
    """Return the names of the files in a version's folder that differ from their whole blobs.

    They do if the file system has no hard links, or if a damaged blob was replaced. Raises OSError.
    """
    folder = layout.version(record.name, record.id)
    return [
        name
        for name, file in record.files.items()
        if not _is_link(folder / name, layout.blob(file.digest))
        and not _has_digest(folder / name, file.digest)
    ]


def _has_digest(path: Path, digest: str) -> bool:
    try:
        return digest_of_file(path) == digest
    except FileNotFoundError:
        return False


def _is_link(path: Path, blob: Path) -> bool:
    try:
        return path.samefile(blob)
    except FileNotFoundError:
        return False


def now() -> str:
    """Return the current time in the form of records: UTC, ISO 8601, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
