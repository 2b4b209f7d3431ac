"""Picture arguments of a command line, and where `--save` writes the result for each."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from elastic_yolo.cli.errors import CommandFailed
from elastic_yolo.detector.errors import NoPictures
from elastic_yolo.detector.samples import SUFFIXES, list_pictures
from elastic_yolo.reading import MOST_READ_BYTES, read_all
from elastic_yolo.reading import STDIN as STDIN_DESCRIPTOR

STDIN = Path("-")
"""Stands for standard input, as a picture or as a list.

Only this object does: a file may have the same name.
"""
_MOST_LIST_BYTES = 2**30


def path_or_stdin(text: str) -> Path:
    """Parse an argument of a command line: `-` is standard input, `./-` a file."""
    return STDIN if text == "-" else Path(text)


def expand_folders(paths: Iterable[Path]) -> list[Path]:
    """Return the files, and the pictures of the folders; raises NoPictures if one has none."""
    return [file for path in paths for file in _in_folder(path)]


def expand_pictures(paths: Iterable[Path]) -> list[Path]:
    """Return the files, the pictures of the folders, and those that patterns match.

    A path is a pattern if it has wildcards and no file has its name; `**` stands for any folders.
    Folders, pipes and devices in a folder are left out, and so are those that a pattern matches.
    Raises NoPictures or CommandFailed for a folder or a pattern without pictures.
    """
    return expand_folders(file for path in paths for file in _matches(path))


def expand_list(paths: Iterable[Path]) -> list[Path]:
    """Return the files of a list, and the pictures of its folders; no path is a pattern.

    A folder without pictures stays: it fails alone, as a file that is not there.
    """
    return [file for path in paths for file in _in_folder_or_itself(path)]


def _in_folder(path: Path) -> list[Path]:
    # Unlike Path.is_dir, this takes names that are too long for the system.
    if path is STDIN or not os.path.isdir(path):  # noqa: PTH112
        return [path]
    # Of a link that leads nowhere, reading it says so.
    found = [one for one in list_pictures(path) if one.is_file() or not one.exists()]
    if not found:
        raise NoPictures(f"{path}: no pictures: expected regular files")
    return found


def _in_folder_or_itself(path: Path) -> list[Path]:
    try:
        return _in_folder(path)
    except (NoPictures, OSError):
        return [path]


def _matches(path: Path) -> list[Path]:
    pattern = str(path)
    if not glob.has_magic(pattern) or os.path.exists(path):  # noqa: PTH110  # see _in_folder
        return [path]
    found = map(Path, sorted(glob.glob(pattern, recursive=True)))  # noqa: PTH207  # also absolute
    pictures = [one for one in found if one.suffix.lower() in SUFFIXES and one.is_file()]
    if not pictures:
        raise CommandFailed(f"{pattern}: no pictures match")
    return pictures


def read_list(path: Path) -> list[Path]:
    """Return the paths in a list, one a line; raises OSError or CommandFailed."""
    content = read_content(path, _MOST_LIST_BYTES)
    if b"\0" in content:
        raise CommandFailed(f"{path}: not a text file: expected a path a line")
    # Names of Linux are bytes; only the line feed ends one.
    lines = (line.removesuffix(b"\r") for line in content.split(b"\n"))
    return [Path(os.fsdecode(line)) for line in lines if line]


def read_content(path: Path, most_bytes: int = MOST_READ_BYTES) -> bytes:
    """Return the content of a file or of standard input, however long it takes; raises OSError."""
    return read_all(source_of(path), most_bytes, float("inf"))


def source_of(path: Path) -> Path | int:
    """Return what is read for an argument."""
    return STDIN_DESCRIPTOR if path is STDIN else path


def overwritten(pictures: list[Path], folder: Path) -> Iterator[str]:
    """Yield an error for each result that would overwrite a picture or another result."""
    sources = {os.path.realpath(path): path for path in pictures}
    saved: dict[Path, Path] = {}
    for path in pictures:
        target = target_of(folder, path)
        if replaced := sources.get(os.path.realpath(target)):
            yield f"--save: the result for {path} would overwrite the picture {replaced}"
        elif os.path.exists(target) and not os.path.isfile(target):  # noqa: PTH110, PTH113
            yield f"--save: not a regular file: {target}"
        first = saved.setdefault(target, path)
        if os.path.realpath(first) != os.path.realpath(path):
            yield f"--save: {first} and {path} would both be written to {target}"


def target_of(folder: Path, picture: Path) -> Path:
    """Return the path of the result for a picture."""
    stem = "stdin" if picture is STDIN else picture.stem
    return folder / f"{stem}.jpg"
