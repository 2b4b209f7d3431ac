"""Find Darknet's files in a model folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from elastic_yolo.detector.darknet.data_file import DataFile, read_data_file
from elastic_yolo.detector.errors import ModelError
from elastic_yolo.detector.files import unreadable


@dataclass(frozen=True)
class TextFiles:
    """The files that describe a network; `data` is the .data file, which a folder need not have."""

    cfg: Path
    names: Path
    data: DataFile | None


@dataclass(frozen=True)
class ModelFiles(TextFiles):
    """The files of a model."""

    weights: Path


def find_model_files(folder: Path) -> ModelFiles:
    """Return the files of a model folder; raises ModelError for a missing or ambiguous one.

    The labels are in the file that the .data file names, by its base name in the same folder, or
    else in the only .names file.
    """
    listing = _list(folder, ".cfg, .weights and .names")
    cfg, weights = (_only(folder, listing, suffix) for suffix in (".cfg", ".weights"))
    data = _read_data(folder, listing)
    return ModelFiles(cfg, _find_names(folder, listing, data), data, weights)


def find_text_files(folder: Path) -> TextFiles:
    """Return those files of a model folder that need no weights beside them; raises ModelError."""
    listing = _list(folder, ".cfg and .names")
    cfg, data = _only(folder, listing, ".cfg"), _read_data(folder, listing)
    return TextFiles(cfg, _find_names(folder, listing, data), data)


def _list(folder: Path, expected: str) -> list[str]:
    try:
        if not folder.is_dir():
            raise ModelError(f"{folder}: no such folder: expected one with {expected}")
        return sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise unreadable(folder, error) from error


def _read_data(folder: Path, listing: list[str]) -> DataFile | None:
    found = _with_suffix(listing, ".data")
    # Several are for training on several sets of pictures, and none of them is the model's.
    return read_data_file(folder / found[0]) if len(found) == 1 else None


def _find_names(folder: Path, listing: list[str], data: DataFile | None) -> Path:
    if data is not None and data.names in listing:
        return folder / data.names
    found = _with_suffix(listing, ".names")
    if len(found) != 1 and data is not None and data.meant in listing:
        raise ModelError(
            f"{data.path}: names = {data.meant}: Darknet's reader drops blanks and knows no "
            f"comment behind a value, so this names {data.names}: rename the file, or write the "
            "name alone"
        )
    if found or data is None:
        return _only(folder, listing, ".names", ", or a .data file that names it")
    if data.names is None:
        raise ModelError(f"{data.path}: no names =, and the folder has no .names file")
    raise ModelError(
        f"{data.path}: names = {data.names}: expected this file, or one .names file, in the folder "
        "of the model"
    )


def _only(folder: Path, listing: list[str], suffix: str, alternative: str = "") -> Path:
    found = _with_suffix(listing, suffix)
    if len(found) != 1:
        shown = ", ".join(found[:5]) or "none"
        more = f" and {len(found) - 5:,} more" if len(found) > 5 else ""
        raise ModelError(
            f"{folder}: expected exactly one {suffix} file{alternative}, found {shown}{more}"
        )
    return folder / found[0]


def _with_suffix(listing: list[str], suffix: str) -> list[str]:
    # macOS's Finder leaves a ._name.cfg beside a name.cfg.
    return [name for name in listing if name.lower().endswith(suffix) and name[0] != "."]
