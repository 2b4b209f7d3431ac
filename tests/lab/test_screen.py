"""What the lab writes."""

from __future__ import annotations

import io

from elastic_yolo.lab.screen import Screen, clock, table
from elastic_yolo.lab.timeline import Sample


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def one(
    tier: str = "web", ready: int = 1, cpu_percent: float | None = 20.4, desired: int = 3
) -> Sample:
    return Sample(0, tier, 2, ready, desired, 70, cpu_percent, 0.1, "because")


def test_without_a_terminal_there_is_a_line_for_every_change() -> None:
    out = io.StringIO()
    screen = Screen(out)

    screen.show("now", 75, [one(), one("inference")])
    screen.show("now", 90, [one(cpu_percent=30), one("inference", ready=2)])

    assert out.getvalue().splitlines() == [
        "   1:15  web         1/2 ready, 3 wanted     because",
        "   1:15  inference   1/2 ready, 3 wanted     because",
        "   1:30  inference   2/2 ready, 3 wanted     because",
    ]


def test_on_a_terminal_the_table_is_drawn_over_itself() -> None:
    out = Terminal()
    screen = Screen(out)

    screen.show("first", 0, [one(desired=2)])
    screen.say("something happened")
    screen.show("second", 15, [one(desired=2)])
    screen.show("third", 30, [one(desired=2)])

    parts = out.getvalue().split("\033[3F\033[J")
    assert [part.splitlines()[0] for part in parts] == ["first", "something happened", "third"]
    assert parts[1].splitlines()[1] == "second"


def test_on_a_terminal_the_last_changes_stay_under_the_table() -> None:
    out = Terminal()
    screen = Screen(out)

    for look in range(10):
        screen.show("now", 15 * look, [one()])
    screen.show("end", 150, [one(desired=2)])

    last = out.getvalue().split("\033[J")[-1].splitlines()
    assert last[0] == "end"
    assert [text.split()[0] for text in last[3:]] == [
        "0:30", "0:45", "1:00", "1:15", "1:30", "1:45", "2:00", "2:15"
    ]  # fmt: skip


def test_a_table_has_words_to_the_left_and_numbers_to_the_right() -> None:
    assert table([one(cpu_percent=None), one("inference", cpu_percent=131)]) == [
        "tier         CPU  target  ready  pods  wanted  why",
        "web            -    70 %      1     2       3  because",
        "inference  131 %    70 %      1     2       3  because",
    ]


def test_a_clock_shows_minutes_and_seconds() -> None:
    assert [clock(at) for at in (0, 59.9, 61, 3600)] == ["0:00", "0:59", "1:01", "60:00"]
