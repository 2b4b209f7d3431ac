"""The lab on a terminal: a table that is drawn again and again, or a line for every change."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TextIO

from elastic_yolo.lab.timeline import Sample

_CHANGES = 8
_HEAD = ("tier", "CPU", "target", "ready", "pods", "wanted", "why")


@dataclass
class Screen:
    """Writes to a stream what the autoscalers see and do."""

    out: TextIO
    _drawn: int = 0
    _changes: deque[str] = field(default_factory=lambda: deque(maxlen=_CHANGES))
    _last: dict[str, tuple[int, int, int]] = field(default_factory=dict)

    def say(self, text: str) -> None:
        """Write a line that stays."""
        self._wipe()
        print(text, file=self.out, flush=True)

    def show(self, headline: str, at_s: float, samples: Sequence[Sample]) -> None:
        """Show the tiers as they are; on a terminal under `headline`, and with the last changes."""
        if self.out.isatty():
            changed = (sample for sample in samples if sample.desired != sample.replicas)
            self._changes.extend(line(at_s, sample) for sample in changed)
            self._draw([headline, *table(samples), *self._changes])
            return
        for sample in samples:
            state = (sample.replicas, sample.ready, sample.desired)
            if state != self._last.get(sample.tier):
                self._last[sample.tier] = state
                self.say(line(at_s, sample))

    def finish(self) -> None:
        """Leave what is drawn."""
        self._drawn = 0

    def _draw(self, lines: list[str]) -> None:
        self._wipe()
        width = shutil.get_terminal_size().columns
        for text in lines:
            print(text[: width - 1], file=self.out)
        self.out.flush()
        self._drawn = len(lines)

    def _wipe(self) -> None:
        if self._drawn:
            # To the first of our lines, and clear from there.
            print(f"\033[{self._drawn}F\033[J", end="", file=self.out)
            self._drawn = 0


def table(samples: Sequence[Sample]) -> list[str]:
    """Return the lines of a table with a row for each tier."""
    rows = [
        (
            sample.tier,
            percent(sample.cpu_percent),
            percent(sample.target_percent),
            str(sample.ready),
            str(sample.replicas),
            str(sample.desired),
            sample.why,
        )
        for sample in samples
    ]
    widths = [max(len(row[column]) for row in (_HEAD, *rows)) for column in range(len(_HEAD))]
    return ["  ".join(_cells(row, widths)).rstrip() for row in (_HEAD, *rows)]


def line(at_s: float, sample: Sample) -> str:
    """Return one line about one tier."""
    pods = f"{sample.ready}/{sample.replicas} ready, {sample.desired} wanted"
    return f"{clock(at_s):>7}  {sample.tier:<10}  {pods:<22}  {sample.why}"


def clock(seconds: float) -> str:
    """Return minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def percent(value: float | None) -> str:
    """Return a share, or a dash where there is none."""
    return "-" if value is None else f"{value:.0f} %"


def _cells(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Put words to the left and numbers to the right."""
    left = (0, len(_HEAD) - 1)
    return [
        cell.ljust(width) if column in left else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
