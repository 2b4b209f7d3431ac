"""Parse a Darknet .cfg file into sections, with line numbers for error messages.

Format as in Darknet's `src/parser.c` and `src/option_list.c` (2018): `[kind]` starts a section,
`key=value` adds an option to it, lines that begin with `#` or `;` are comments, and blanks are
dropped, also inside a line. Only comments, and options without effect, may have letters beyond
ASCII, of any encoding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from elastic_yolo.detector.darknet.lines import Line, option_lines
from elastic_yolo.detector.darknet.numbers import read_number, read_whole
from elastic_yolo.detector.errors import CfgError
from elastic_yolo.detector.files import read_ascii_text

# Thirty times the largest known .cfg (AlexeyAB's cspx-p7-mish, 30 kB): a .weights file under this
# name is refused before it is read.
_MOST_BYTES = 2**20
# yolov4-p6 has 306 sections. Every layer costs time and memory in the reader and in the engine.
_MOST_SECTIONS = 1000
# A head with 20 anchors has 40 numbers.
_MOST_NUMBERS = 1000

# Section names with a second one: string_to_layer_type of both `src/parser.c`.
_ALIASES = {
    "avg": "avgpool",
    "conv": "convolutional",
    "local_avg": "local_avgpool",
    "max": "maxpool",
    "network": "net",
    "silence": "empty",
}

_N = TypeVar("_N", int, float)


@dataclass(frozen=True)
class Option:
    """One `key=value` line; `value` is None without an equals sign."""

    value: str | None
    line: int


@dataclass(frozen=True)
class Section:
    """One `[kind]` with its options. The typed readers raise CfgError with file and line.

    `written` is the kind as the file has it, `[conv]` for a convolutional one.
    """

    kind: str
    line: int
    options: Mapping[str, Option]
    file: str
    written: str
    ignored: tuple[Line, ...] = ()
    """Lines that Darknet reports and skips: those that end with their first equals sign."""

    def integer(self, key: str, default: int) -> int:
        """Return an option as int, or the default if the section lacks it."""
        value = self._value(key)
        if value is None:
            return default
        try:
            return read_whole(value)[0]
        except ValueError:
            raise self.error(key, "a whole number") from None

    def number(self, key: str, default: float) -> float:
        """Return an option as float, or the default if the section lacks it."""
        value = self._value(key)
        if value is None:
            return default
        try:
            return read_number(value)[0]
        except ValueError:
            raise self.error(key, "a number") from None

    def text(self, key: str, default: str) -> str:
        """Return an option as text, or the default if the section lacks it."""
        value = self._value(key)
        return default if value is None else value

    def integers(self, key: str, *, comment: str = "") -> tuple[int, ...]:
        """Return a comma-separated option as ints; empty if the section lacks it.

        What follows the letter `comment` does not count.
        """
        return self._list(key, read_whole, "whole numbers separated by commas", comment=comment)

    def numbers(self, key: str, most: int) -> tuple[float, ...]:
        """Return the first `most` numbers of a comma-separated option; empty without the option.

        Darknet uses no more of them, so a comma or a comment behind them has no effect.
        """
        return self._list(key, read_number, "numbers separated by commas", most)

    def error(self, key: str, expected: str) -> CfgError:
        """Build the error for a missing or invalid option; `expected` completes its message."""
        option = self.options.get(key)
        if option is None or option.value is None:
            return CfgError(
                f"{self.file}:{self.line}: [{self.written}] needs {key}=: expected {expected}"
            )
        return CfgError(
            f"{self.file}:{option.line}: [{self.written}] {key}={shown(option.value)}: "
            f"expected {expected}"
        )

    def _value(self, key: str) -> str | None:
        # Of two options of the same name the first one counts, also if it has no value.
        option = self.options.get(key)
        return None if option is None else option.value

    def _list(
        self,
        key: str,
        read: Callable[[str], tuple[_N, str]],
        expected: str,
        most: int = _MOST_NUMBERS,
        comment: str = "",
    ) -> tuple[_N, ...]:
        value = self._value(key)
        if value is None:
            return ()
        if comment:
            value = value.partition(comment)[0]
        if value.count(",") >= _MOST_NUMBERS:
            raise self.error(key, f"at most {_MOST_NUMBERS:,} numbers")
        try:
            # To Darknet, an empty entry is 0, and so is the text behind a comma of a comment.
            # Neither is ever intended.
            return tuple(read(part)[0] for part in value.split(",")[:most])
        except ValueError:
            raise self.error(key, expected) from None


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


def shown(text: str) -> str:
    """Return a text of the file for a message, shortened."""
    return text if len(text) <= 80 else f"{text[:60]}..."


def read_cfg(path: Path) -> Cfg:
    """Read a .cfg file and parse its sections; raises CfgError with file and line."""
    text = read_ascii_text(path, _MOST_BYTES, CfgError, hint=": is it the .weights file?")
    return parse_cfg(text, path)


def parse_cfg(text: str, path: Path = Path("network.cfg")) -> Cfg:
    """Parse the text of a .cfg file; `path` only appears in errors. Raises CfgError."""
    sections = _sections(text, path.name)
    if not sections:
        raise CfgError(f"{path.name}: no section found: expected [net] first")
    net, *layers = sections
    if net.kind != "net":
        raise CfgError(f"{path.name}:{net.line}: expected [net] first, found [{net.written}]")
    if not layers:
        raise CfgError(f"{path.name}:{net.line}: no layers after [net]")
    return Cfg(path, net, tuple(layers))


def _sections(text: str, file: str) -> list[Section]:
    sections: list[Section] = []
    body: list[Line] = []
    header: Line | None = None
    for line in option_lines(text):
        if line.text[0] != "[":
            if header is None:
                raise CfgError(
                    f"{file}:{line.number}: an option before the first [section]: "
                    f"{shown(line.raw.strip())}"
                )
            body.append(line)
            continue
        if header is not None:
            sections.append(_section(header, body, file))
        if len(sections) + 1 > _MOST_SECTIONS:
            raise CfgError(f"{file}:{line.number}: expected at most {_MOST_SECTIONS:,} sections")
        header, body = line, []
    return sections if header is None else [*sections, _section(header, body, file)]


def _section(header: Line, body: list[Line], file: str) -> Section:
    if not header.text.endswith("]"):
        raise CfgError(
            f"{file}:{header.number}: section header without ']' at its end: "
            f"{shown(header.raw.strip())}"
        )
    options: dict[str, Option] = {}
    ignored: list[Line] = []
    for line in body:
        key, equals, value = line.text.partition("=")
        if equals and not value:
            ignored.append(line)
            continue
        # Darknet's option_find uses the first of two options of the same name.
        options.setdefault(key, Option(value if equals else None, line.number))
    written = header.text[1:-1]
    kind = _ALIASES.get(written, written)
    return Section(kind, header.number, MappingProxyType(options), file, written, tuple(ignored))
