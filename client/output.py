"""What the client prints: a line for each picture, tables at the end, or responses as they are."""

from __future__ import annotations

import os
import re
import sys

from client.summary import TIERS, Row, Summary, detection_rows, picture_rows
from client.table import columns_of, pad, printable, table, wants_colours, width_of

_BOLD, _RED, _DIM = "1", "31", "2"
_MOST_ROWS = 40
_LONGEST_NAME = 40
# Below it, the time in each tier is left out.
_WIDE = 100
_QUOTED = re.compile(r'"[^"]*"')
_TIER = re.compile(rf"\b({'|'.join(TIERS)})\s*;\s*dur\s*=\s*(\d+(?:\.\d+)?)")


class Output:
    """Prints pictures and tables on stdout, and pictures without a usable response on stderr."""

    def __init__(self, names: list[str], total: int | None, *, raw: bool) -> None:
        """Prepare for pictures with these names, `total` in all; None is until Ctrl-C."""
        # Some terminals have no Unicode.
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        self._raw = raw
        self._total = total
        self._name_width = min(_LONGEST_NAME, max(width_of(printable(one)) for one in names))
        self._shown = 0
        self._colours = wants_colours(sys.stdout)

    def show_response(self, content: bytes) -> None:
        """Print a response as it came, if that is wanted: `Response: b'...'`."""
        if self._raw:
            _write(f"Response: {content!r}")

    def show(self, row: Row) -> None:
        """Print the line of a picture that was just sent."""
        if self._raw:
            return
        self._shown += 1
        number = f"{self._shown:>{len(str(self._total))}}/{self._total}  " if self._total else ""
        name = pad(printable(row.picture), self._name_width)
        if row.fault:
            text = self._paint(printable(row.fault), _RED)
        else:
            objects = "1 object" if len(row.data) == 1 else f"{len(row.data)} objects"
            text = f"{objects:>10}  {row.took_ms[-1]:5.0f} ms"
        _write(f"{self._paint(number, _DIM)}{name}  {text}")

    def show_failure(self, row: Row) -> None:
        """Print why a picture has no usable response."""
        self._shown += 1
        what = f"client: {printable(row.picture)}: {printable(row.fault)}"
        print(what, file=sys.stderr, flush=True)

    def finish(self, summary: Summary) -> None:
        """Print the tables and the figures of all."""
        if self._raw:
            return
        rows = list(summary.rows.values())
        width = columns_of(sys.stdout)
        if len(rows) == 1 and not rows[0].fault:
            self._print(detection_rows(rows[0]), width, left=1)
        elif len(rows) > 1:
            self._print(picture_rows(rows[:_MOST_ROWS], with_tiers=width >= _WIDE), width, left=2)
            if len(rows) > _MOST_ROWS:
                _write(f"and {len(rows) - _MOST_ROWS} more pictures")
        _write("\n" * bool(rows) + "\n".join(summary.lines()))

    def _print(self, rows: list[list[str]], width: int, *, left: int) -> None:
        head, *lines = table([[printable(cell) for cell in row] for row in rows], width, left=left)
        _write("\n" + "\n".join([self._paint(head, _BOLD), *lines]))

    def _paint(self, text: str, code: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._colours and text else text


def _write(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # The reader, such as `head`, has ended, so the rest is not needed.
        os._exit(1)


def read_tiers_ms(header: str) -> dict[str, float]:
    """Return the time that each tier took, from a Server-Timing header."""
    return {tier: float(dur) for tier, dur in _TIER.findall(_QUOTED.sub("", header))}
