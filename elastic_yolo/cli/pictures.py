"""Picture arguments of a command line, and where `--save` writes the result for each."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from elastic_yolo.cli.errors import CommandFailed
from elastic_yolo.detector.samples import SUFFIXES, list_pictures

STDIN = Path("-")
"""Stands for standard input, as a picture or as a list."""
_MOST_LIST_BYTES = 2**30


def expand_folders(paths: Iterable[Path]) -> list[Path]:
    """Return the files, and the pictures of the folders; raises SampleError if one has none."""
    return [file for path in paths for file in (list_pictures(path) if path.is_dir() else [path])]


def expand_pictures(paths: Iterable[Path]) -> list[Path]:
    """Return the files, the pictures of the folders, and those that patterns match.

    A path is a pattern if it has wildcards and no file has its name; `**` stands for any folders.
    Raises SampleError or CommandFailed for a folder or a pattern without pictures.
    """
    return expand_folders(file for path in paths for file in _matches(path))


def _matches(path: Path) -> list[Path]:
    pattern = str(path)
    if not glob.has_magic(pattern) or path.exists():
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


def read_content(path: Path, most_bytes: int) -> bytes:
    """Return the content of a file, or of standard input for `-`; raises OSError.

    Raises CommandFailed for more than `most_bytes`.
    """
    if path == STDIN:
        content = sys.stdin.buffer.read(most_bytes + 1)
    else:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise CommandFailed(f"{path}: expected at most {most_bytes:,} bytes")
    return content


def overwritten(pictures: list[Path], folder: Path) -> Iterator[str]:
    """Yield an error for each result that would overwrite a picture or another result."""
    sources = {os.path.realpath(path): path for path in pictures}
    saved: dict[Path, Path] = {}
    for path in pictures:
        target = target_of(folder, path)
        if replaced := sources.get(os.path.realpath(target)):
            yield f"--save: the result for {path} would overwrite the picture {replaced}"
        first = saved.setdefault(target, path)
        if os.path.realpath(first) != os.path.realpath(path):
            yield f"--save: {first} and {path} would both be written to {target}"


def target_of(folder: Path, picture: Path) -> Path:
    """Return the path of the result for a picture."""
    stem = "stdin" if picture == STDIN else picture.stem
    return folder / f"{stem}.jpg"
