"""Find pictures in a folder, a glob or a list file: by name, where each of them is.

Hidden files and folders are left out, as the shell does.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from elastic_yolo.batch.errors import BadInput
from elastic_yolo.batch.storage import is_remote, judged, open_file
from elastic_yolo.detector.samples import SUFFIXES

_MOST_LIST_BYTES = 2**30
_FORMS = "expected a folder, a glob, a list file (.txt) or an archive (.tar, .tar.gz, .zip)"


def is_picture(name: str) -> bool:
    """Return whether a name below an input is that of a picture, and not hidden."""
    if os.path.splitext(name)[1].lower() not in SUFFIXES:  # noqa: PTH122  # of a million names
        return False
    return not any(part.startswith(".") and part not in (".", "..") for part in name.split("/"))


def pictures_at(address: str) -> dict[str, str]:
    """Return the one picture at a path, or those of a glob; raises BadInput for anything else."""
    path = Path(address)
    if path.is_file() and is_picture(path.name):
        return {path.name: address}
    if path.exists():
        raise BadInput(f"{address}: {_FORMS}")
    if not glob.has_magic(address):
        raise BadInput(f"{address}: no such file or folder: {_FORMS}")
    return _of_glob(address)


def pictures_in(folder: str) -> dict[str, str]:
    """Return the pictures of a folder and its folders; raises OSError or StorageFailed."""
    root = f"{folder.rstrip('/')}/"
    with judged(folder):
        found = sorted(_files_below(root))
    return {path.removeprefix(root): path for path in found}


def _files_below(root: str) -> Iterator[str]:
    """Yield the picture files of a folder and its folders; links to folders are not followed."""
    folders = [root]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif is_picture(entry.name) and entry.is_file():
                    yield entry.path


def _of_glob(pattern: str) -> dict[str, str]:
    root = before_wildcard(pattern)
    found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207  # keeps a leading ./
    names = {path: path.removeprefix(root) for path in found}
    return {name: path for path, name in names.items() if is_picture(name) and Path(path).is_file()}


def pictures_of_list(address: str) -> dict[str, str]:
    """Return the lines of a list file; raises BadInput, OSError or StorageFailed."""
    with judged(address), open_file(address) as file:
        content = file.read(_MOST_LIST_BYTES + 1)
    if len(content) > _MOST_LIST_BYTES:
        raise BadInput(f"{address}: expected a list of at most {_MOST_LIST_BYTES:,} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = f"{address}: byte {error.start}"
        raise BadInput(f"{place} is not UTF-8: expected a path or URL a line") from None
    if "\0" in text:
        raise BadInput(f"{address}: not a text file: expected a path or URL a line")
    # Not str.splitlines, nor its spaces: names may have the line ends and spaces of Unicode.
    names = dict.fromkeys(line.strip(" \t\r") for line in text.split("\n"))
    folder = address[: address.rfind("/") + 1]
    return {name: _located(name, folder) for name in names if name}


def _located(name: str, folder: str) -> str:
    """Return the location of a line of a list file; a relative one is beside the list."""
    return name if is_remote(name) or name.startswith("/") else f"{folder}{name}"


def list_objects(system: Any, path: str) -> tuple[dict[str, int], str]:
    """Return the files of a folder, of a glob, or the one at `path`, with their sizes.

    And what their names leave out.
    """
    if glob.has_magic(path):
        root, found = before_wildcard(path), system.glob(path, detail=True)
    else:
        root, found = f"{path.rstrip('/')}/", system.find(path, detail=True)
    sizes = {
        name: int(entry.get("size") or 0)
        for name, entry in found.items()
        if entry.get("type") == "file"
    }
    if list(sizes) == [path]:
        root = path[: path.rfind("/") + 1]
    return sizes, root


def before_wildcard(pattern: str) -> str:
    """Return the folders of a pattern that have no wildcard, with a slash at the end."""
    parts = pattern.split("/")
    number = next(at for at, part in enumerate(parts) if glob.has_magic(part))
    return "".join(f"{part}/" for part in parts[:number])
