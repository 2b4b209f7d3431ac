"""Parse a Darknet .cfg file into sections, with line numbers for error messages.

Format as in Darknet's `src/parser.c` and `src/option_list.c` (2018): `[kind]` starts a section,
`key=value` adds an option to it, lines that begin with `#` or `;` are comments, and all white space
is dropped, also inside a line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from elastic_yolo.detector.errors import CfgError
from elastic_yolo.detector.files import read_text

# Thirty times the largest known .cfg (AlexeyAB's cspx-p7-mish, 30 kB): a .weights file under this
# name is refused before it is read.
_MOST_BYTES = 2**20
# yolov4-p6 has 306 sections. Every layer costs time and memory in the reader and in the engine.
_MOST_SECTIONS = 1000
# A head with 20 anchors has 40 numbers.
_MOST_NUMBERS = 1000

# Numbers that C's atoi() and atof() read completely. Python's int() and float() also accept 1_000,
# non-ASCII digits, millions of digits, nan and inf.
_WHOLE = re.compile(r"[+-]?[0-9]{1,10}")
_NUMBER = re.compile(r"(?=.{1,40}$)[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
# Darknet stores options as 32-bit int and float.
_INT_END = 2**31
_LARGEST_FLOAT = 3.4028234663852886e38


@dataclass(frozen=True)
class Option:
    """One `key=value` line."""

    value: str
    line: int


@dataclass(frozen=True)
class Section:
    """One `[kind]` with its options. The typed readers raise CfgError with file and line."""

    kind: str
    line: int
    options: Mapping[str, Option]
    file: str

    def integer(self, key: str, default: int) -> int:
        """Return an option as int, or the default if the section lacks it."""
        option = self.options.get(key)
        if option is None:
            return default
        try:
            return _whole(option.value)
        except ValueError:
            raise self.error(key, "a whole number") from None

    def number(self, key: str, default: float) -> float:
        """Return an option as float, or the default if the section lacks it."""
        option = self.options.get(key)
        if option is None:
            return default
        try:
            return _number(option.value)
        except ValueError:
            raise self.error(key, "a number") from None

    def text(self, key: str, default: str) -> str:
        """Return an option as text, or the default if the section lacks it."""
        option = self.options.get(key)
        return default if option is None else option.value

    def integers(self, key: str) -> tuple[int, ...]:
        """Return a comma-separated option as ints; empty if the section lacks it."""
        try:
            return tuple(_whole(part) for part in self._parts(key))
        except ValueError:
            raise self.error(key, "whole numbers separated by commas") from None

    def numbers(self, key: str) -> tuple[float, ...]:
        """Return a comma-separated option as floats; empty if the section lacks it."""
        try:
            return tuple(_number(part) for part in self._parts(key))
        except ValueError:
            raise self.error(key, "numbers separated by commas") from None

    def error(self, key: str, expected: str) -> CfgError:
        """Build the error for a missing or invalid option; `expected` completes its message."""
        option = self.options.get(key)
        if option is None:
            return CfgError(
                f"{self.file}:{self.line}: [{self.kind}] needs {key}=: expected {expected}"
            )
        return CfgError(
            f"{self.file}:{option.line}: [{self.kind}] {key}={_shown(option.value)}: "
            f"expected {expected}"
        )

    def _parts(self, key: str) -> list[str]:
        option = self.options.get(key)
        if option is None:
            return []
        if option.value.count(",") >= _MOST_NUMBERS:
            raise self.error(key, f"at most {_MOST_NUMBERS:,} numbers")
        # Darknet reads an empty entry as 0, which is never intended: _whole and _number refuse it.
        return option.value.split(",")


@dataclass(frozen=True)
class Cfg:
    """A whole .cfg file: the `[net]` section and the layers after it, in order."""

    path: Path
    net: Section
    layers: tuple[Section, ...]

    @property
    def sections(self) -> tuple[Section, ...]:
        """Every section, `[net]` first."""
        return (self.net, *self.layers)


def _whole(text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise ValueError(text)
    value = int(text)
    if not -_INT_END <= value < _INT_END:
        raise ValueError(text)
    return value


def _number(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise ValueError(text)
    value = float(text)
    if abs(value) > _LARGEST_FLOAT:
        raise ValueError(text)
    return value


def _shown(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:60]}..."


def read_cfg(path: Path) -> Cfg:
    """Read a .cfg file and parse its sections; raises CfgError with file and line."""
    text = read_text(path, _MOST_BYTES, CfgError, hint=": is it the .weights file?")
    return parse_cfg(text, path)


def parse_cfg(text: str, path: Path = Path("network.cfg")) -> Cfg:
    """Parse the text of a .cfg file; `path` only appears in errors. Raises CfgError."""
    sections = _sections(text, path.name)
    if not sections:
        raise CfgError(f"{path.name}: no section found: expected [net] first")
    net, *layers = sections
    if net.kind not in ("net", "network"):
        raise CfgError(f"{path.name}:{net.line}: expected [net] first, found [{net.kind}]")
    if not layers:
        raise CfgError(f"{path.name}:{net.line}: no layers after [net]")
    return Cfg(path, net, tuple(layers))


def _sections(text: str, file: str) -> list[Section]:
    sections: list[Section] = []
    options: dict[str, Option] = {}
    for number, raw in enumerate(text.splitlines(), start=1):
        line = "".join(raw.split())
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            if not line.endswith("]"):
                raise CfgError(
                    f"{file}:{number}: section header without ']': {_shown(raw.strip())}"
                )
            if len(sections) == _MOST_SECTIONS:
                raise CfgError(f"{file}:{number}: expected at most {_MOST_SECTIONS:,} sections")
            options = {}
            sections.append(Section(line[1:-1], number, MappingProxyType(options), file))
            continue
        key, equals, value = line.partition("=")
        if not equals or not key:
            raise CfgError(f"{file}:{number}: expected key=value, found: {_shown(raw.strip())}")
        if not sections:
            raise CfgError(
                f"{file}:{number}: an option before the first [section]: {_shown(raw.strip())}"
            )
        # Darknet's option_find uses the first of two options of the same name. Its atoi() ignores a
        # comment after a number, so comments after any value are dropped here.
        options.setdefault(key, Option(value.partition("#")[0], number))
    return sections
