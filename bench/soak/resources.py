"""Memory, descriptors and threads of each process over time, and whether they grow."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from elastic_yolo.lab.processes import process_tree

# The lowest of as many samples counts, half a minute: during a switch of the model's version there
# are two in memory, and that is no growth.
_WINDOW = 15


@dataclass(frozen=True)
class Usage:
    """What a process and its children hold at a moment."""

    rss_mb: float
    descriptors: int
    threads: int


@dataclass(frozen=True)
class Limits:
    """The growth of a process, after its warm-up, that is no leak."""

    rss_mb: float = 64.0
    descriptors: int = 64
    threads: int = 16


@dataclass
class Life:
    """The samples of one process, from its start to its end."""

    name: str
    pid: int
    started_s: float
    """Since the start of the run."""
    samples: list[tuple[float, Usage]] = field(default_factory=list)

    def growth(self, warm_up_s: float) -> tuple[Usage, Usage] | None:
        """Return the lowest values after the warm-up and at the end of its life.

        None if it ended too early for that.
        """
        later = [usage for at_s, usage in self.samples if at_s - self.started_s >= warm_up_s]
        if len(later) < 2 * _WINDOW:
            return None
        return _lowest(later[:_WINDOW]), _lowest(later[-_WINDOW:])


def read_usage(pid: int) -> Usage | None:
    """Return what a process holds, or None if it has ended."""
    descriptors = threads = 0
    for one in process_tree.family(pid):
        with suppress(OSError):
            descriptors += len(list(Path(f"/proc/{one}/fd").iterdir()))
            threads += len(list(Path(f"/proc/{one}/task").iterdir()))
    rss_mb = process_tree.memory(pid).rss_mb
    # One that was killed has no memory, until it is waited for.
    return Usage(rss_mb, descriptors, threads) if rss_mb else None


def find_growth(lives: Sequence[Life], warm_up_s: float, limits: Limits) -> list[str]:
    """Return the processes that grew beyond the limits, in words."""
    found = []
    for life in lives:
        ends = life.growth(warm_up_s)
        if ends is None:
            continue
        before, after = ends
        for name, unit in (
            ("rss_mb", "MB"),
            ("descriptors", "descriptors"),
            ("threads", "threads"),
        ):
            grown, limit = getattr(after, name) - getattr(before, name), getattr(limits, name)
            if grown > limit:
                found.append(
                    f"{life.name} (pid {life.pid}) grew by {grown:.0f} {unit}: limit {limit:g}"
                )
    return found


def _lowest(samples: Sequence[Usage]) -> Usage:
    return Usage(
        min(one.rss_mb for one in samples),
        min(one.descriptors for one in samples),
        min(one.threads for one in samples),
    )
