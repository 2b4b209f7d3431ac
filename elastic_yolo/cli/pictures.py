"""Picture arguments of a command line, and where `--save` writes the result for each."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from elastic_yolo.detector.samples import list_pictures


def expand_folders(paths: Iterable[Path]) -> list[Path]:
    """Return the files, and the pictures of the folders; raises SampleError if one has none."""
    return [file for path in paths for file in (list_pictures(path) if path.is_dir() else [path])]


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
    return folder / f"{picture.stem}.jpg"
