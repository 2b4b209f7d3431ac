"""Put versions into a store and switch channels. For who holds the lock."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from elastic_yolo.digest import digest_of_bytes, digest_of_file
from elastic_yolo.durable import UNFINISHED, make_folder, publish_folder, sync_folder, write_file
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

# File systems that have no second name for a file say one of these.
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_MOST_EARLIER = 20

Check = Callable[[Path], None]
"""Looks at a folder before it is published, and raises if it must not be."""


class Writer:
    """Writes to the store at `layout`; every step leaves it whole."""

    def __init__(self, layout: Layout) -> None:
        """Write nothing yet."""
        self.layout = layout

    def keep_blob(self, file: Path, digest: str) -> FileRecord:
        """Take a finished file, already synced, into the store under its digest; it moves.

        One that is there already stays: versions share it.
        """
        make_folder(self.layout.blobs)
        blob, size = self.layout.blob(digest), file.stat().st_size
        known = self.find_blob(digest)
        if known is not None and known.size == size:
            file.unlink()
            return known
        file.chmod(0o444)
        file.replace(blob)
        sync_folder(blob.parent)
        return FileRecord(digest=digest, size=size)

    def find_blob(self, digest: str) -> FileRecord | None:
        """Return a file that is in the store already."""
        try:
            return FileRecord(digest=digest, size=self.layout.blob(digest).stat().st_size)
        except FileNotFoundError:
            return None

    @contextmanager
    def assembled(self, files: Mapping[str, FileRecord]) -> Iterator[Path]:
        """Give a folder with these files to look at, which is gone after the block."""
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
        """Make a version of files that are in the store, unless it is there already.

        Raises what `check` raises, and then there is no such version. Raises OSError.
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
            # Not there, or left without its record by somebody who was killed.
            self._write(record, check)
            return record

    def point(self, name: str, channel: str, identity: str) -> bool:
        """Switch a channel to a version; returns whether it pointed elsewhere before."""
        find_version(self.layout, name, identity)
        before = self._channel(name, channel)
        if before is not None and before.id == identity:
            return False
        earlier = [] if before is None else [before.id, *before.earlier]
        kept = [one for one in dict.fromkeys(earlier) if one != identity][:_MOST_EARLIER]
        self._write_channel(name, channel, ChannelRecord(id=identity, since=now(), earlier=kept))
        return True

    def roll_back(self, name: str, channel: str) -> str:
        """Switch a channel back to where it pointed before, and return that version's id.

        Raises NotInStore if there is nothing to go back to.
        """
        before = self._channel(name, channel)
        if before is None:
            raise NotInStore(f"{name}@{channel}: no such model or channel in this store")
        for number, identity in enumerate(before.earlier):
            try:
                find_version(self.layout, name, identity)
            except NotInStore:
                continue
            rest = before.earlier[number + 1 :]
            record = ChannelRecord(id=identity, since=now(), earlier=rest)
            self._write_channel(name, channel, record)
            return identity
        raise NotInStore(f"{name}@{channel}: no earlier version is there any more")

    def _channel(self, name: str, channel: str) -> ChannelRecord | None:
        try:
            return read_record(ChannelRecord, self.layout.channel(name, channel))
        except NotInStore:
            return None

    def _write_channel(self, name: str, channel: str, record: ChannelRecord) -> None:
        make_folder(self.layout.channels(name))
        write_file(self.layout.channel(name, channel), to_json(record))

    def _write(self, record: VersionRecord, check: Check) -> None:
        versions = self.layout.versions(record.name)
        make_folder(versions)
        folder = self.layout.version(record.name, record.id)
        shutil.rmtree(folder, ignore_errors=True)
        unfinished = Path(tempfile.mkdtemp(dir=versions, prefix=UNFINISHED))
        try:
            for name, file in record.files.items():
                link_or_copy(self.layout.blob(file.digest), unfinished / name)
            check(unfinished)
            publish_folder(unfinished, folder)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        # Readers ask for the record: from here on the version is there.
        write_file(self.layout.version_record(record.name, record.id), to_json(record))


def digest_of_files(files: Mapping[str, FileRecord]) -> str:
    """Return one digest for names and contents."""
    lines = (f"{file.digest} {name}\n" for name, file in sorted(files.items()))
    return digest_of_bytes("".join(lines).encode())


def link_or_copy(file: Path, path: Path) -> None:
    """Give a file a second name, or copy it where the file system has no such thing."""
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
    """Read a file again; raises StoreDamaged if it is not what its name says, or is missing."""
    blob = layout.blob(digest)
    try:
        found = digest_of_file(blob)
    except OSError as error:
        raise StoreDamaged(f"{blob}: cannot be read: {error.strerror}") from error
    if found != digest:
        raise StoreDamaged(f"{blob}: is {found}")


def now() -> str:
    """Return the time as records have it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
