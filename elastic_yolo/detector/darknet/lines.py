"""The lines of Darknet's option files, .cfg and .data, as `src/option_list.c` reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

# What strip() of `src/utils.c` removes, also inside a line. A blank of another script, such as a
# no-break space, is a letter to Darknet.
_BLANKS = str.maketrans("", "", " \t\r")


@dataclass(frozen=True)
class Line:
    """A line that is neither empty nor a comment: without its blanks, and as it was written."""

    number: int
    text: str
    raw: str


def option_lines(text: str) -> Iterator[Line]:
    """Yield the lines of an option file, numbered from 1."""
    # Not splitlines(): form feeds and Unicode's separators end no line in C, where a comment that
    # contains one goes on. Only a file without any line feed is an old Macintosh's.
    end = "\n" if "\n" in text else "\r"
    for number, raw in enumerate(text.split(end), start=1):
        line = raw.translate(_BLANKS)
        if line and line[0] not in "#;":
            yield Line(number, line, raw)
