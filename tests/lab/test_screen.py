"""The lab's table and its lines."""

from __future__ import annotations

import io

import pytest

from elastic_yolo.lab.screen import Screen, clock, shorten, table
from elastic_yolo.lab.timeline import Sample

LONG = (
    "12 -> 20: 148 % > 70 %, but 137 % if the pod without metrics counts as idle, wants 24, "
    "scaleUp allows 20"
)


class Terminal(io.StringIO):
    """A stream that is a terminal of 80 columns."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("COLUMNS", "80")
    return Terminal()


def one(tier: str = "web", ready: int = 1, desired: int = 3, why: str = "2 -> 3: why") -> Sample:
    return Sample(0, tier, 2, ready, desired, 70, 20.4, 0.1, why)


def test_a_log_gets_a_line_for_every_change() -> None:
    out = io.StringIO()
    screen = Screen(out)

    screen.show("now", 75, [one(), one("inference")])
    screen.show("now", 90, [one(), one("inference", ready=2)])

    assert out.getvalue().splitlines() == [
        " time  tier        ready  decision",
        " 1:15  web           1/2  2 -> 3: why",
        " 1:15  inference     1/2  2 -> 3: why",
        " 1:30  inference     2/2  2 -> 3: why",
    ]


def test_on_a_terminal_the_table_is_drawn_over_itself(terminal: Terminal) -> None:
    screen = Screen(terminal)

    screen.show("first", 0, [one(desired=2)])
    screen.say("something happened")
    screen.show("second", 15, [one(desired=2)])
    screen.show("third", 30, [one(desired=2)])

    parts = terminal.getvalue().split("\033[3F\033[J")
    assert [part.splitlines()[0] for part in parts] == ["first", "something happened", "third"]
    assert parts[1].splitlines()[1] == "second"


def test_on_a_terminal_the_last_changes_stay_below_the_table(terminal: Terminal) -> None:
    screen = Screen(terminal)

    for sync in range(10):
        screen.show("now", 15 * sync, [one()])
    screen.show("end", 150, [one(desired=2)])

    last = terminal.getvalue().split("\033[J")[-1].splitlines()
    assert last[0] == "end"
    assert [text.split()[0] for text in last[3:]] == [
        "0:30", "0:45", "1:00", "1:15", "1:30", "1:45", "2:00", "2:15"
    ]  # fmt: skip


def test_a_table_has_the_decision_after_tier_and_pods() -> None:
    samples = [one(), one("inference", ready=2, why="stays at 2: 61 % < 70 %")]

    assert table(samples, 79) == [
        "tier       ready  decision",
        "web          1/2  2 -> 3: why",
        "inference    2/2  stays at 2: 61 % < 70 %",
    ]


def test_every_line_on_a_terminal_fits_80_columns(terminal: Terminal) -> None:
    Screen(terminal).show("now", 6000, [one("preprocess", why=LONG), one("inference", why=LONG)])

    lines = terminal.getvalue().splitlines()
    assert all(len(text) < 80 for text in lines)
    assert LONG[:52] in lines[2]


def test_a_long_decision_continues_under_its_column() -> None:
    lines = table([one("inference", why=LONG)], 79)

    assert lines[1].startswith("inference    1/2  12 -> 20: 148 %")
    assert all(text.startswith(" " * 18) for text in lines[2:])
    assert " ".join([lines[1][18:], *(text.strip() for text in lines[2:])]) == LONG


def test_a_line_that_is_cut_ends_with_an_ellipsis() -> None:
    assert (shorten("12345", 5), shorten("123456", 5)) == ("12345", "1234\u2026")


def test_a_clock_shows_minutes_and_seconds() -> None:
    assert [clock(at) for at in (0, 59.9, 61, 3600)] == ["0:00", "0:59", "1:01", "60:00"]
