"""Transcripts on a page: what is typed into which terminal, and the response that it shows.

A transcript is a fenced block of the language `console`. A line that begins with `$ ` is typed, and
so are the lines right after it that begin with `> `. `^C` is the key. Everything else is the
response.
Words after `console` are for the test; a browser does not show them:

- `terminal=NAME`: another terminal than the main one
- `stays`: the last command goes on when it has responded, until `^C`
- `status=N`: the exit status of the last command, if it is not 0
- `about`: other numbers may stand where the page has numbers
- `needs=WHAT`: the command runs only where WHAT is available
- `timeout=SECONDS`: how long it may take, if that is more than a minute
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

INTERRUPT = "^C"
ANY = "..."
"""On a page: any text, or as a line any lines."""
_FENCE = re.compile(r"^( *)```")
_NUMBER = re.compile(r"\d(?:[\d,]*\d)?(?:\.\d+)?")
_TIMEOUT_S = 60.0
_WORDS = {"terminal", "stays", "status", "about", "needs", "timeout"}


@dataclass(frozen=True)
class Step:
    """One command with its response."""

    line: int
    """In the page, from 1."""
    typed: str
    shown: tuple[str, ...]
    terminal: str = "main"
    stays: bool = False
    status: int = 0
    about: bool = False
    needs: str | None = None
    timeout_s: float = _TIMEOUT_S


def read_steps(page: Path) -> list[Step]:
    """Return the steps of a page in order; raises ValueError, which names the line."""
    steps: list[Step] = []
    for at, words, lines in _blocks(page.read_text(encoding="utf-8")):
        options = _read_options(words, f"{page.name}:{at}")
        block = [Step(line, typed, shown, **options) for line, typed, shown in _split(at, lines)]
        steps += [replace(one, stays=False, status=0) for one in block[:-1]] + block[-1:]
    return steps


def _blocks(text: str) -> Iterator[tuple[int, list[str], list[str]]]:
    """Yield of each transcript the line of its fence, the words after the language, its lines."""
    fence: str | None = None
    at, words, lines = 0, [], []
    for number, line in enumerate(text.splitlines(), 1):
        found = _FENCE.match(line)
        if fence is None and found:
            fence = found[1] + "```"
            at, lines = number, []
            words = line.strip().strip("`").split()
        elif fence is not None and line == fence:
            if words[:1] == ["console"]:
                yield at, words[1:], lines
            fence = None
        elif fence is not None:
            lines.append(line.removeprefix(fence[:-3]))


def _read_options(words: Sequence[str], where: str) -> dict[str, object]:
    pairs = {name: value for name, _, value in (word.partition("=") for word in words)}
    if unknown := set(pairs) - _WORDS:
        raise ValueError(f"{where}: unknown words {', '.join(sorted(unknown))}")
    return {
        "terminal": pairs.get("terminal", "main"),
        "stays": "stays" in pairs,
        "status": int(pairs.get("status", "0")),
        "about": "about" in pairs,
        "needs": pairs.get("needs"),
        "timeout_s": float(pairs.get("timeout", _TIMEOUT_S)),
    }


def _split(fence_at: int, lines: Sequence[str]) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    typed: list[str] = []
    shown: list[str] = []
    at = 0
    for number, line in enumerate(lines, fence_at + 1):
        if line.startswith("$ ") or line == INTERRUPT:
            if typed:
                yield at, "\n".join(typed), tuple(shown)
            at, typed, shown = number, [line.removeprefix("$ ")], []
        elif typed and not shown and (line.startswith("> ") or line == ">"):
            typed.append(line[2:])
        elif typed:
            shown.append(line.rstrip())
        else:
            raise ValueError(f"line {number}: a response without a command")
    if typed:
        yield at, "\n".join(typed), tuple(shown)


@dataclass(frozen=True)
class Mismatch:
    """Where a response differs from the page."""

    shown: str
    """The line of the page that fits nowhere; empty if the response goes on after the last."""
    after: int
    """Lines of the response before it."""


def find_mismatch(
    step: Step, response: Sequence[str], *, is_complete: bool = True
) -> Mismatch | None:
    """Compare a response with what the page shows; None if it fits.

    Spaces count as one, and those at the ends of lines not at all. Unless the response is complete
    it may go on after what the page shows.
    """
    at = {0}
    """Lines of the response that may have been compared so far."""
    for line in step.shown:
        if line.strip() == ANY:
            at = set(range(min(at), len(response) + 1))
            continue
        pattern = _pattern(line, about=step.about)
        found = {one + 1 for one in at if one < len(response) and pattern.fullmatch(response[one])}
        if not found:
            return Mismatch(line, min(at))
        at = found
    if is_complete and len(response) not in at:
        return Mismatch("", max(at))
    return None


def _pattern(line: str, *, about: bool) -> re.Pattern[str]:
    parts = []
    for part in line.split(ANY):
        words = [_NUMBER.sub("\0", one) if about else one for one in part.split()]
        text = r"\s+".join(re.escape(one).replace("\0", _NUMBER.pattern) for one in words)
        before = r"\s*" if part[:1].isspace() else ""
        after = r"\s*" if part[-1:].isspace() else ""
        parts.append(before + text + after)
    return re.compile(r"\s*" + ".*".join(parts) + r"\s*")
