"""The lab's output: a table that a terminal redraws, or lines in a log.

A log gets one line whenever a tier's pods or decision change, and once for each reason to stay.
"""

from __future__ import annotations

import shutil
import textwrap
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TextIO

from elastic_yolo.lab.stays import Told
from elastic_yolo.lab.timeline import Sample

_CHANGES = 8
# A table for a narrower terminal is not wrapped further, but cut.
_NARROWEST = 60
_HEAD = ("tier", "ready", "decision")
LINE_HEAD = " time  tier        ready  decision"
"""The head of the columns of `line`."""


@dataclass
class Screen:
    """Writes to a stream what the autoscalers observe and decide."""

    out: TextIO
    _drawn: int = 0
    _changes: deque[str] = field(default_factory=lambda: deque(maxlen=_CHANGES))
    _told: Told = field(default_factory=Told)
    _last: dict[str, tuple[int, int, int]] = field(default_factory=dict)

    def say(self, text: str) -> None:
        """Write a line that stays above the table."""
        self._wipe()
        print(text, file=self.out, flush=True)

    def show(self, headline: str, at_s: float, samples: Sequence[Sample]) -> None:
        """Show the tiers: on a terminal a headline, the table and the last changes.

        In the table a long decision continues on the next line; a change is cut to one line.
        """
        if self.out.isatty():
            width = shutil.get_terminal_size().columns - 1
            changed = (sample for sample in samples if sample.desired != sample.replicas)
            self._changes.extend(line(at_s, sample) for sample in changed)
            self._draw([headline, *table(samples, width), *self._changes], width)
            return
        for sample in samples:
            state = (sample.replicas, sample.ready, sample.desired)
            if self._told.is_new(sample) or state != self._last.get(sample.tier):
                if not self._last:
                    self.say(LINE_HEAD)
                self._last[sample.tier] = state
                self.say(line(at_s, sample))

    def finish(self) -> None:
        """Keep the table on the screen."""
        self._drawn = 0

    def _draw(self, lines: list[str], width: int) -> None:
        self._wipe()
        for text in lines:
            print(shorten(text, width), file=self.out)
        self.out.flush()
        self._drawn = len(lines)

    def _wipe(self) -> None:
        if self._drawn:
            # To the first line of the table, and clear from there.
            print(f"\033[{self._drawn}F\033[J", end="", file=self.out)
            self._drawn = 0


def table(samples: Sequence[Sample], width: int) -> list[str]:
    """Return the lines of a table of `width` columns with one row per tier."""
    rows = [(sample.tier, _pods(sample), sample.why) for sample in samples]
    tier, ready = (max(len(row[column]) for row in (_HEAD, *rows)) for column in (0, 1))
    indent = " " * (tier + ready + 4)
    return [
        text
        for name, pods, why in (_HEAD, *rows)
        for text in textwrap.wrap(
            f"{name:<{tier}}  {pods:>{ready}}  {why}",
            max(width, _NARROWEST),
            subsequent_indent=indent,
        )
    ]


def line(at_s: float, sample: Sample) -> str:
    """Return one line about one tier."""
    return f"{clock(at_s):>5}  {sample.tier:<10}  {_pods(sample):>5}  {sample.why}"


def clock(seconds: float) -> str:
    """Return minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def shorten(text: str, width: int) -> str:
    """Return a line cut to a width, with an ellipsis where something is missing."""
    return text if len(text) <= width else f"{text[: width - 1]}\u2026"


def _pods(sample: Sample) -> str:
    return f"{sample.ready}/{sample.replicas}"
