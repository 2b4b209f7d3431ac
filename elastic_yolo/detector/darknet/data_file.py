"""Read a Darknet .data file: the number of classes and the name of the labels' file.

Format as in Darknet's `src/option_list.c`, read_data_cfg (2018): `key = value` lines, blanks are
dropped, also inside a line, lines that begin with `#` or `;` are comments, and the first of two
options of the same name counts. The other options (`train`, `valid`, `backup`, `eval`) are for
training.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from elastic_yolo.detector.darknet.lines import option_lines
from elastic_yolo.detector.errors import ModelError
from elastic_yolo.detector.files import read_ascii_text

# Real ones have five lines.
_MOST_BYTES = 2**16
# Darknet reads the number with atoi(), which ignores what follows, such as a comment.
_CLASSES = re.compile(r"([0-9]{1,6})(?![0-9])")
_COMMENT = re.compile(r"[#;].*", re.DOTALL)
_FOLDER = re.compile(r".*[/\\]", re.DOTALL)


@dataclass(frozen=True)
class DataFile:
    """A .data file; an option that it lacks is None.

    `names` is a base name. Darknet resolves the path from its working directory, on the machine of
    the training; here the file is in the folder of the model, and no path leads out of that.
    `meant` is what the line seems to name: with its blanks, and without a comment behind it.
    """

    path: Path
    classes: int | None
    names: str | None
    meant: str | None = None

    def check_classes(self, expected: int, cfg: str) -> None:
        """Raise ModelError if the number of classes is not that of the .cfg file."""
        if self.classes not in (None, expected):
            raise ModelError(
                f"{self.path}: classes={self.classes}, but {cfg} has classes={expected}"
            )


def read_data_file(path: Path) -> DataFile:
    """Read a .data file; raises ModelError with file and line."""
    return parse_data_file(read_ascii_text(path, _MOST_BYTES), path)


def parse_data_file(text: str, path: Path = Path("model.data")) -> DataFile:
    """Parse the text of a .data file; `path` appears in errors. Raises ModelError."""
    options: dict[str, tuple[int, str]] = {}
    meant: dict[str, str] = {}
    for line in option_lines(text):
        key, equals, value = line.text.partition("=")
        if not equals or not key:
            raise ModelError(
                f"{path}:{line.number}: expected key = value, found: {line.raw.strip()[:80]}"
            )
        options.setdefault(key, (line.number, value))
        meant.setdefault(key, _meant(line.raw))
    return DataFile(
        path,
        _classes(options.get("classes"), path),
        _names(options.get("names"), path),
        meant.get("names"),
    )


def _meant(raw: str) -> str:
    value = raw.partition("=")[2]
    return _FOLDER.sub("", _COMMENT.sub("", value)).strip()


def _classes(option: tuple[int, str] | None, path: Path) -> int | None:
    if option is None:
        return None
    line, value = option
    found = _CLASSES.match(value)
    if found is None or int(found[1]) == 0:
        raise ModelError(
            f"{path}:{line}: classes = {value[:80]}: expected a number from 1 to 999999"
        )
    return int(found[1])


def _names(option: tuple[int, str] | None, path: Path) -> str | None:
    if option is None:
        return None
    line, value = option
    name = _FOLDER.sub("", value)
    # A hidden file is never part of a model, and `..` is a folder.
    if not name or name.startswith("."):
        raise ModelError(f"{path}:{line}: names = {value[:80]}: expected the path of a file")
    return name
