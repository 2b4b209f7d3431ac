"""The pictures of a batch: of a folder, a glob, a list file or an archive, in a fixed order.

Every form may be a local path or a URL that fsspec opens. Names are relative to the folder, to what
a glob has before its first wildcard, or to the archive; of a list file they are its lines.
"""

from __future__ import annotations

import glob
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Protocol

from elastic_yolo.batch.errors import BadInput
from elastic_yolo.batch.storage import (
    MOST_PICTURE_BYTES,
    file_system,
    is_remote,
    open_archive,
    read_picture,
    too_large,
)
from elastic_yolo.detector.samples import SUFFIXES
from elastic_yolo.digest import digest_of_bytes
from elastic_yolo.picture.errors import PictureUndecodable

_LISTS = frozenset({".txt", ".lst", ".list"})
_ZIPS = (".zip",)
_TAR = ".tar"
_PACKED_TARS = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_MOST_LIST_BYTES = 2**30
_FORMS = "expected a folder, a glob, a list file (.txt) or an archive (.tar, .tar.gz, .zip)"


class Pictures(Protocol):
    """Pictures in a fixed order."""

    names: list[str]
    """By number; no name twice."""
    sequential: bool
    """Whether `read` must be called with rising numbers, and by one thread at a time."""
    remote: bool
    """Whether reading waits for a network: several at a time are faster."""

    def read(self, number: int) -> bytes:
        """Return the content of a picture.

        Raises PictureError or OSError for a bad one, and StorageFailed if a retry may succeed.
        """


class FilePictures:
    """Picture files."""

    sequential = False

    def __init__(self, found: Mapping[str, str]) -> None:
        """Take the locations of pictures, paths or URLs, by name."""
        self.names = list(found)
        self._locations = list(found.values())
        self.remote = any(map(is_remote, self._locations))

    def read(self, number: int) -> bytes:
        """See Pictures.read."""
        return read_picture(self._locations[number])


class ZipPictures:
    """Pictures in a zip file."""

    sequential = False
    remote = False

    def __init__(self, address: str) -> None:
        """Read the directory of the file; raises BadInput, OSError or StorageFailed."""
        try:
            self._archive = zipfile.ZipFile(open_archive(address))
        except (zipfile.BadZipFile, EOFError) as error:
            raise BadInput(f"{address}: not a zip file, or not all of it: {error}") from error
        members = [one for one in self._archive.infolist() if _is_picture(one.filename)]
        self._members = list({one.filename: one for one in members}.values())
        self.names = [one.filename for one in self._members]
        self._turn = Lock()

    def read(self, number: int) -> bytes:
        """See Pictures.read."""
        member = self._members[number]
        if member.file_size > MOST_PICTURE_BYTES:
            raise too_large(member.file_size)
        try:
            with self._turn, self._archive.open(member) as file:
                return file.read(MOST_PICTURE_BYTES)
        # RuntimeError: encrypted. NotImplementedError: an unknown compression.
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            raise PictureUndecodable(f"damaged or encrypted in the archive: {error}") from error


class TarPictures:
    """Pictures in a tar file; one that is compressed is unpacked while it is read."""

    remote = False

    def __init__(self, address: str, *, packed: bool) -> None:
        """Read the headers of all members; raises BadInput, OSError or StorageFailed."""
        self.sequential = packed
        self._address = address
        self._archive = self._open()
        try:
            members = [one for one in self._archive if one.isreg() and _is_picture(one.name)]
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise BadInput(f"{address}: not a tar file, or not all of it: {error}") from error
        # The last of several members with the same name is the valid one.
        found = {one.name.removeprefix("./"): one for one in members}
        ordered = sorted(found.items(), key=lambda item: item[1].offset)
        self.names = [name for name, _ in ordered]
        self._members = [member for _, member in ordered]
        self._turn = Lock()

    def read(self, number: int) -> bytes:
        """See Pictures.read."""
        member = self._members[number]
        if member.size > MOST_PICTURE_BYTES:
            raise too_large(member.size)
        try:
            with self._turn, self._archive.extractfile(member) or BytesIO() as file:
                return file.read()
        except (tarfile.TarError, EOFError) as error:
            raise PictureUndecodable(f"damaged in the archive: {error}") from error

    def _open(self) -> tarfile.TarFile:
        try:
            return tarfile.open(fileobj=open_archive(self._address), mode="r:*")
        except tarfile.TarError as error:
            raise BadInput(f"{self._address}: not a tar file: {error}") from error


def open_pictures(address: str) -> Pictures:
    """Return the pictures of an input.

    Raises BadInput if there are none, ValueError for a URL that fsspec does not know, OSError, and
    StorageFailed.
    """
    pictures = _open(address)
    if not pictures.names:
        raise BadInput(f"{address}: no pictures: expected {', '.join(sorted(SUFFIXES))} files")
    return pictures


def _open(address: str) -> Pictures:
    lower = address.lower()
    is_folder = not is_remote(address) and Path(address).is_dir()
    if lower.endswith(_ZIPS) and not is_folder:
        return ZipPictures(address)
    if lower.endswith((_TAR, *_PACKED_TARS)) and not is_folder:
        return TarPictures(address, packed=not lower.endswith(_TAR))
    if PurePosixPath(lower).suffix in _LISTS and not is_folder:
        return FilePictures(_of_list(address))
    return FilePictures(_of_url(address) if is_remote(address) else _of_path(address))


def _of_path(address: str) -> dict[str, str]:
    path = Path(address)
    if path.is_dir():
        return _of_folder(path)
    if path.is_file() and _is_picture(address):
        return {path.name: address}
    if path.exists():
        raise BadInput(f"{address}: {_FORMS}")
    if not glob.has_magic(address):
        raise BadInput(f"{address}: no such file or folder: {_FORMS}")
    return _of_glob(address)


def _is_picture(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _of_folder(folder: Path) -> dict[str, str]:
    # Sorted by parts, as a listing of nested folders is.
    found = sorted(path for path in folder.rglob("*") if _is_picture(path.name) and path.is_file())
    return {path.relative_to(folder).as_posix(): str(path) for path in found}


def _of_glob(pattern: str) -> dict[str, str]:
    root = _before_wildcard(pattern)
    found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207  # keeps a leading ./
    files = (path for path in found if _is_picture(path) and Path(path).is_file())
    return {path.removeprefix(root): path for path in files}


def _of_list(address: str) -> dict[str, str]:
    with open_archive(address) as file:
        content = file.read(_MOST_LIST_BYTES)
    try:
        lines = content.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        place = f"{address}: byte {error.start}"
        raise BadInput(f"{place} is not UTF-8: expected a path or URL a line") from None
    folder = address.rpartition("/")[0]
    names = dict.fromkeys(line.strip() for line in lines if line.strip())
    return {name: _located(name, folder) for name in names}


def _located(name: str, folder: str) -> str:
    """Return the location of a line of a list file; a relative one is beside the list."""
    if is_remote(name) or name.startswith("/") or not folder:
        return name
    return f"{folder}/{name}"


def _of_url(address: str) -> dict[str, str]:
    """Return the pictures behind a URL: of a folder, of a glob, or the one that it names."""
    system, path = file_system(address)
    if glob.has_magic(path):
        root, found = _before_wildcard(path), system.glob(path)
    else:
        root, found = f"{path.rstrip('/')}/", system.find(path)
    pictures = sorted(one for one in found if _is_picture(one))
    if pictures == [path]:
        root = path.removesuffix(PurePosixPath(path).name)
    return {one.removeprefix(root): str(system.unstrip_protocol(one)) for one in pictures}


def _before_wildcard(pattern: str) -> str:
    """Return the folders of a pattern that have no wildcard, with a slash at the end."""
    parts = pattern.split("/")
    number = next(at for at, part in enumerate(parts) if glob.has_magic(part))
    return "".join(f"{part}/" for part in parts[:number])


def numbers_of(count: int, index: int, completions: int) -> range:
    """Return the numbers of the pictures that one of several processes takes.

    They are dealt out one by one, because neighbours in a folder are often equally large.
    """
    return range(index, count, completions)


def listing_digest(names: Iterable[str]) -> str:
    """Return the digest of names in their order: it shows whether an input has changed."""
    return digest_of_bytes("\n".join(names).encode("utf-8", "surrogateescape"))
