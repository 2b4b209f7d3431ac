"""The pictures of a batch: of a folder, a glob, a list file or an archive, in a fixed order.

Every form may be a local path or a URL that fsspec opens. Names are relative to the folder, to what
a glob has before its first wildcard, or to the archive; of a list file they are its lines.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from elastic_yolo.batch.archives import TarPictures, ZipPictures
from elastic_yolo.batch.errors import BadInput
from elastic_yolo.batch.listing import (
    is_picture,
    list_objects,
    pictures_at,
    pictures_in,
    pictures_of_list,
)
from elastic_yolo.batch.storage import (
    file_system,
    is_remote,
    judged,
    read_object,
    read_picture,
)
from elastic_yolo.detector.samples import SUFFIXES
from elastic_yolo.digest import digest_of_bytes

_LISTS = (".txt", ".lst", ".list")
_ZIPS = ".zip"
_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")


class Pictures(Protocol):
    """Pictures in a fixed order."""

    names: list[str]
    """By number; no name twice."""
    sequential: bool
    """Whether `read` must be called with rising numbers, and by one thread at a time."""
    remote: bool
    """Whether reading waits for a network: several at a time are faster."""

    def size(self, number: int) -> int:
        """Return the bytes of a picture's content, 0 if only reading it tells."""

    def read(self, number: int) -> bytes:
        """Return the content of a picture.

        Raises PictureError or OSError for a bad one, and StorageFailed if a retry may succeed.
        """

    def close(self) -> None:
        """Close what is open."""


class FilePictures:
    """Picture files, each with a location of its own."""

    sequential = False

    def __init__(self, found: Mapping[str, str]) -> None:
        """Take the locations of pictures, paths or URLs, by name."""
        self.names = list(found)
        self._locations = list(found.values())
        self.remote = any(map(is_remote, self._locations))

    def size(self, _: int) -> int:
        """See Pictures.size."""
        return 0

    def read(self, number: int) -> bytes:
        """See Pictures.read."""
        return read_picture(self._locations[number])

    def close(self) -> None:
        """Do nothing: no file stays open."""


class ObjectPictures:
    """Picture files in one file system of fsspec."""

    sequential = False
    remote = True

    def __init__(self, address: str) -> None:
        """List a folder, a glob, or the one picture that a URL names; raises as open_pictures."""
        self._address = address
        self._system, path = file_system(address)
        with judged(address):
            sizes, root = list_objects(self._system, path)
        self._paths = sorted(one for one in sizes if is_picture(one.removeprefix(root)))
        self._sizes = array("q", (sizes[one] for one in self._paths))
        self.names = [one.removeprefix(root) for one in self._paths]

    def size(self, number: int) -> int:
        """See Pictures.size."""
        return self._sizes[number]

    def read(self, number: int) -> bytes:
        """See Pictures.read."""
        with judged(f"{self._address}: {self.names[number]}"):
            return read_object(self._system, self._paths[number], self._sizes[number])

    def close(self) -> None:
        """Do nothing: no file stays open."""


class KeptPictures:
    """Pictures whose content is kept from `read` to `take`: it is detected in, and then drawn on.

    Twice over a network, or through a compressed archive, takes twice as long.
    """

    def __init__(self, pictures: Pictures) -> None:
        """Read from other pictures."""
        self.names, self.sequential, self.remote = (
            pictures.names, pictures.sequential, pictures.remote,
        )  # fmt: skip
        self.size, self.close = pictures.size, pictures.close
        self._read = pictures.read
        self._kept: dict[int, bytes] = {}

    def read(self, number: int) -> bytes:
        """See Pictures.read."""
        content = self._kept[number] = self._read(number)
        return content

    def take(self, number: int) -> bytes | None:
        """Return the content that was kept, if any, and forget it."""
        return self._kept.pop(number, None)


def open_pictures(address: str) -> Pictures:
    """Return the pictures of an input.

    Raises BadInput if there are none, or for a URL that fsspec does not know; OSError, and
    StorageFailed.
    """
    pictures = _open(address)
    if not pictures.names:
        pictures.close()
        raise BadInput(f"{address}: no pictures: expected {', '.join(sorted(SUFFIXES))} files")
    return pictures


def _open(address: str) -> Pictures:
    # fsspec chains URLs by ::, as in zip://*.jpg::s3://bucket/pictures.zip.
    lower = "" if "::" in address else address.lower()
    if not is_remote(address) and Path(address).is_dir():
        return FilePictures(pictures_in(address))
    if lower.endswith(_ZIPS):
        return ZipPictures(address)
    if lower.endswith(_TARS):
        return TarPictures(address)
    if lower.endswith(_LISTS):
        return FilePictures(pictures_of_list(address))
    return ObjectPictures(address) if is_remote(address) else FilePictures(pictures_at(address))


def numbers_of(count: int, index: int, completions: int) -> range:
    """Return the numbers of the pictures that one of several processes takes.

    They are dealt out one by one, because neighbours in a folder are often equally large.
    """
    return range(index, count, completions)


def listing_digest(names: Iterable[str]) -> str:
    """Return the digest of names in their order: it shows whether an input has changed."""
    return digest_of_bytes("\0".join(names).encode("utf-8", "surrogateescape"))
