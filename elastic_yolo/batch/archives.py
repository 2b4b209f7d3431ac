"""Pictures in archives: zip, and tar, plain or compressed."""

from __future__ import annotations

import errno
import gzip
import lzma
import posixpath
import struct
import tarfile
import zipfile
import zlib
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import IO, Self

from elastic_yolo.batch.errors import BadInput
from elastic_yolo.batch.listing import is_picture
from elastic_yolo.batch.storage import judged, open_file, require_size
from elastic_yolo.detector.files import MOST_PICTURE_BYTES
from elastic_yolo.picture.errors import PictureError, PictureUndecodable

# What the libraries raise for content that is damaged, or compressed in an unknown way.
_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    NotImplementedError,
    ValueError,
    OverflowError,
)
# PKWARE's APPNOTE.TXT, 4.4.4.
_ENCRYPTED = 1
# Its content is in pieces, and no picture has holes that tar would leave out.
_SPARSE = -1


class ZipPictures:
    """Pictures in a zip file."""

    sequential = False
    remote = False

    def __init__(self, address: str) -> None:
        """Read the directory of the file; raises BadInput, OSError or StorageFailed."""
        self._address = address
        self._raw = open_file(address)
        with _refusing(address, "a zip file", self._raw):
            self._archive = zipfile.ZipFile(self._raw)
        # The last of several members with the same name is the valid one.
        members = {
            one.filename.removeprefix("./"): one
            for one in self._archive.infolist()
            if is_picture(one.filename) and not one.is_dir()
        }
        self.names = list(members)
        self._members = list(members.values())
        self._turn = Lock()

    def size(self, number: int) -> int:
        """See Pictures.size."""
        return self._members[number].file_size

    def read(self, number: int) -> bytes:
        """See Pictures.read."""
        member = self._members[number]
        require_size(member.file_size)
        if member.flag_bits & _ENCRYPTED:
            raise PictureUndecodable("encrypted in the archive")
        with self._turn, _judging_a_member(self._address), self._archive.open(member) as file:
            return file.read(MOST_PICTURE_BYTES)

    def close(self) -> None:
        """See Pictures.close."""
        self._archive.close()
        self._raw.close()


class TarPictures:
    """Pictures in a tar file; one that is compressed is unpacked while it is read."""

    remote = False

    def __init__(self, address: str) -> None:
        """Read the headers of all members; raises BadInput, OSError or StorageFailed."""
        self._address = address
        self._raw = open_file(address)
        with _refusing(address, "a tar file", self._raw):
            archive = tarfile.open(fileobj=self._raw, mode="r:*", tarinfo=_Member)  # noqa: SIM115  # read later
            members = _members(archive)
            # What is unpacked, if it is compressed.
            self._file: IO[bytes] = archive.fileobj  # type: ignore[assignment]
        ordered = sorted(members.items(), key=lambda item: item[1])
        self.sequential = self._file is not self._raw
        self.names = [name for name, _ in ordered]
        # Of a million members, the objects of tarfile take a gigabyte.
        self._starts = array("q", (start for _, (start, _) in ordered))
        self._sizes = array("q", (size for _, (_, size) in ordered))
        self._turn = Lock()

    def size(self, number: int) -> int:
        """See Pictures.size."""
        return max(0, self._sizes[number])

    def read(self, number: int) -> bytes:
        """See Pictures.read."""
        size = self._sizes[number]
        if size == _SPARSE:
            raise PictureUndecodable("stored as a sparse file in the archive")
        require_size(size)
        with self._turn, _judging_a_member(self._address):
            self._file.seek(self._starts[number])
            content = self._file.read(size)
        if len(content) < size:
            raise PictureUndecodable("not all of it is in the archive")
        return content

    def close(self) -> None:
        """See Pictures.close."""
        self._file.close()
        self._raw.close()


class _Member(tarfile.TarInfo):
    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        """Raise ReadError for a damaged header; tarfile itself takes it for the end."""
        try:
            return super().fromtarfile(archive)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError(str(error)) from error


def _members(archive: tarfile.TarFile) -> dict[str, tuple[int, int]]:
    """Return where the content of each picture begins, and its size, by name.

    The last of several members with the same name is the valid one. Links are those to members.
    """
    found: dict[str, tuple[int, int]] = {}
    while (one := archive.next()) is not None:
        # They would be kept for methods that are not called.
        archive.members.clear()  # type: ignore[attr-defined]
        name = one.name.removeprefix("./")
        if not is_picture(name):
            continue
        if one.isreg():
            found[name] = (one.offset_data, _SPARSE if one.issparse() else one.size)
        elif one.islnk() or one.issym():
            folder = posixpath.dirname(name) if one.issym() else ""
            target = posixpath.normpath(posixpath.join(folder, one.linkname))
            if target in found:
                found[name] = found[target]
    return found


@contextmanager
def _refusing(address: str, what: str, raw: IO[bytes]) -> Iterator[None]:
    """Raise BadInput for an archive that cannot be read, and close it; or what `judged` raises."""
    try:
        with judged(address), _naming_damage():
            yield
    except _Damage as damage:
        raw.close()
        raise BadInput(f"{address}: not {what}, or not all of it: {damage}") from damage
    except BaseException:
        raw.close()
        raise


@contextmanager
def _judging_a_member(address: str) -> Iterator[None]:
    """Raise PictureUndecodable for damage, and what `judged` raises."""
    try:
        with judged(address), _naming_damage():
            yield
    except _Damage as damage:
        raise PictureUndecodable(f"damaged in the archive: {damage}") from damage


class _Damage(PictureError):
    """What a library says about a damaged archive."""


@contextmanager
def _naming_damage() -> Iterator[None]:
    try:
        yield
    except _DAMAGED as error:
        raise _Damage(error) from error
    except OSError as error:
        # bz2 has no error of its own; zipfile seeks to where a damaged file says, before its start.
        if type(error) is OSError and error.errno in (None, errno.EINVAL):
            raise _Damage(error) from error
        raise
