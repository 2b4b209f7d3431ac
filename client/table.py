"""Text for a terminal: tables that fit its width, colours where they are wanted, no surprises."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Sequence
from typing import TextIO

# Of a log or a pipe, which has no width.
_NO_TERMINAL = (100, 24)
_NARROWEST = 8
_BETWEEN = "  "


def printable(text: str) -> str:
    r"""Return a text as one line, with escapes such as `\n` for what cannot be printed.

    Names of files and what a server sends must not move the cursor or forge a line.
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text.encode(errors="backslashreplace").decode()
    )


def columns_of(stream: TextIO) -> int:
    """Return the width of a terminal; of anything else, that of the variable COLUMNS, or 100."""
    if not stream.isatty() and not os.environ.get("COLUMNS"):
        return _NO_TERMINAL[0]
    return shutil.get_terminal_size(_NO_TERMINAL).columns


def wants_colours(stream: TextIO) -> bool:
    """Return whether colours suit: a terminal, and no NO_COLOR (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def width_of(text: str) -> int:
    """Return the columns that a text takes: letters of East Asia and emoji take two."""
    return sum(
        0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF")
        for letter in text
    )


def cut(text: str, width: int) -> str:
    """Return a text of at most `width` columns, with dots where its end is missing."""
    if width_of(text) <= width:
        return text
    while text and width_of(text) > width - 3:
        text = text[:-1]
    return f"{text.rstrip(' ,')}..."


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Return a text filled with spaces up to `width` columns; `right` aligns it there."""
    spaces = " " * max(0, width - width_of(text))
    return f"{spaces}{text}" if right else f"{text}{spaces}"


def table(rows: Sequence[Sequence[str]], width: int, *, left: int) -> list[str]:
    """Return rows as aligned lines of at most `width` columns; the first row is the head.

    The first `left` columns are text, aligned left, and the widest of them is cut where the width
    does not suffice; the others are numbers, aligned right.
    """
    widths = [max(map(width_of, column)) for column in zip(*rows, strict=True)]
    while (over := sum(widths) + len(_BETWEEN) * (len(widths) - 1) - width) > 0:
        widest = max(range(left), key=widths.__getitem__)
        if widths[widest] <= _NARROWEST:
            break
        others = [one for index, one in enumerate(widths[:left]) if index != widest]
        # Not below the next widest, so that both are cut alike.
        least = max([_NARROWEST, widths[widest] - over, *(one - 1 for one in others)])
        widths[widest] = min(widths[widest] - 1, least)
    return [
        _BETWEEN.join(
            pad(cut(cell, size), size, right=column >= left)
            for column, (cell, size) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
