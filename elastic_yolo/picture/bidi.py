"""The order in which the characters of a label are drawn: some scripts run from right to left.

A simplification of Unicode Standard Annex 9 for a single line without control characters: levels
0 to 2, and no pairs of brackets.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from itertools import groupby

_STRONG = {"L": "L", "R": "R", "AL": "R"}
_NUMBERS = frozenset({"EN", "AN"})
# Between two numbers, these belong to them: 0.95, 1,5 and 12:30.
_SEPARATORS = frozenset({"CS", "ES"})


def visual_runs(text: str) -> list[tuple[str, bool]]:
    """Return runs of characters from left to right on the paper, and whether each is right-to-left.

    The characters of a run are in the order of the text.
    """
    levels = _levels(text)
    pairs = zip(text, levels, strict=True)
    runs = [
        ("".join(character for character, _ in group), level)
        for level, group in groupby(pairs, key=lambda pair: pair[1])
    ]
    for level in range(max(levels, default=0), 0, -1):
        runs = _reverse_from(runs, level)
    return [(run, bool(level % 2)) for run, level in runs]


def _reverse_from(runs: list[tuple[str, int]], level: int) -> list[tuple[str, int]]:
    """Reverse the order of neighbours whose level is at least this one (rule L2)."""
    reordered: list[tuple[str, int]] = []
    for is_reversed, group in groupby(runs, key=lambda run: run[1] >= level):
        neighbours = list(group)
        reordered += reversed(neighbours) if is_reversed else neighbours
    return reordered


def _levels(text: str) -> list[int]:
    kinds = [unicodedata.bidirectional(character) for character in text]
    if not any(_STRONG.get(kind) == "R" for kind in kinds):
        return [0] * len(text)
    base = next(_STRONG[kind] for kind in kinds if kind in _STRONG)
    directions = _resolve_neutrals(_resolve_numbers(kinds, base), base)
    if base == "R":
        return [1 if direction == "R" else 2 for direction in directions]
    return [{"L": 0, "R": 1, "N": 2}[direction] for direction in directions]


def _resolve_numbers(kinds: list[str], base: str) -> list[str | None]:
    """Return L, R, N for a number, or None; marks follow the character that they belong to."""
    resolved: list[str | None] = []
    strong, previous = base, None
    for at, kind in enumerate(kinds):
        following = kinds[at + 1] if at + 1 < len(kinds) else ""
        if kind in _STRONG:
            strong = previous = _STRONG[kind]
        elif kind in _NUMBERS:
            previous = "L" if strong == "L" and kind == "EN" else "N"
        elif kind == "NSM" or (kind in _SEPARATORS and at and _between(kinds[at - 1], following)):
            pass
        else:
            previous = None
        resolved.append(previous)
    return resolved


def _between(before: str, following: str) -> bool:
    return before in _NUMBERS and following in _NUMBERS


def _resolve_neutrals(directions: Iterable[str | None], base: str) -> list[str]:
    """Give neutral characters the direction of both neighbours, or the base direction."""
    resolved: list[str] = []
    groups = [(direction, len(list(group))) for direction, group in groupby(directions)]
    for at, (direction, count) in enumerate(groups):
        if direction is None:
            # Numbers count as right-to-left here.
            before, after = (
                {"N": "R", None: base}.get(groups[near][0], groups[near][0])
                if 0 <= near < len(groups)
                else base
                for near in (at - 1, at + 1)
            )
            direction = before if before == after else base  # noqa: PLW2901
        resolved += [direction or base] * count
    return resolved
