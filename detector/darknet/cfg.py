"""Read a Darknet .cfg file into sections, keeping line numbers for error messages.

Format as in Darknet's `src/parser.c` and `src/option_list.c` (2018): `[kind]` starts a section,
`key=value` adds an option to it, lines that begin with `#` or `;` are comments, and all blanks
are dropped, also inside a line.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from detector.errors import CfgError


@dataclass(frozen=True)
class Option:
    """One `key=value` line."""

    value: str
    line: int


@dataclass(frozen=True)
class Section:
    """One `[kind]` with its options. The typed readers raise CfgError naming file and line."""

    kind: str
    line: int
    options: Mapping[str, Option]
    file: str

    def integer(self, key: str, default: int) -> int:
        """Return an option as int, or the default where the section lacks it."""
        option = self.options.get(key)
        if option is None:
            return default
        try:
            return int(option.value)
        except ValueError:
            raise self.error(key, "a whole number") from None

    def number(self, key: str, default: float) -> float:
        """Return an option as float, or the default where the section lacks it."""
        option = self.options.get(key)
        if option is None:
            return default
        try:
            return _finite(option.value)
        except ValueError:
            raise self.error(key, "a number") from None

    def text(self, key: str, default: str) -> str:
        """Return an option as it stands, or the default where the section lacks it."""
        option = self.options.get(key)
        return default if option is None else option.value

    def integers(self, key: str) -> tuple[int, ...]:
        """Return a comma-separated option as ints; empty where the section lacks it."""
        try:
            return tuple(int(part) for part in self._parts(key))
        except ValueError:
            raise self.error(key, "whole numbers separated by commas") from None

    def numbers(self, key: str) -> tuple[float, ...]:
        """Return a comma-separated option as floats; empty where the section lacks it."""
        try:
            return tuple(_finite(part) for part in self._parts(key))
        except ValueError:
            raise self.error(key, "numbers separated by commas") from None

    def error(self, key: str, expected: str) -> CfgError:
        """Build the error for an option that does not say what it must."""
        option = self.options.get(key)
        if option is None:
            return CfgError(
                f"{self.file}:{self.line}: [{self.kind}] needs {key}=: expected {expected}"
            )
        return CfgError(
            f"{self.file}:{option.line}: [{self.kind}] {key}={option.value}: expected {expected}"
        )

    def _parts(self, key: str) -> list[str]:
        option = self.options.get(key)
        if option is None:
            return []
        return [part for part in option.value.split(",") if part]


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


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def read_cfg(path: Path) -> Cfg:
    """Read and check the outline of a .cfg file; raises CfgError with file and line."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CfgError(f"{path}: not a text file (byte {error.start} is not UTF-8)") from None
    except OSError as error:
        raise CfgError(f"{path}: cannot be read: {error.strerror}") from error
    return parse_cfg(text, path)


def parse_cfg(text: str, path: Path = Path("network.cfg")) -> Cfg:
    """Parse the text of a .cfg file; `path` is only named in errors."""
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
                raise CfgError(f"{file}:{number}: section header without ']': {raw.strip()}")
            options = {}
            sections.append(Section(line[1:-1], number, MappingProxyType(options), file))
            continue
        key, equals, value = line.partition("=")
        if not equals or not key:
            raise CfgError(f"{file}:{number}: expected key=value, found: {raw.strip()}")
        if not sections:
            raise CfgError(f"{file}:{number}: an option before the first [section]: {raw.strip()}")
        # Darknet's option_find takes the first of two options with one name. A comment behind a
        # number is dropped by its atoi(), so we drop it everywhere.
        options.setdefault(key, Option(value.partition("#")[0], number))
    return sections
