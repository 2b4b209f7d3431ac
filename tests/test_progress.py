"""Progress of downloads and of work on pictures, in words."""

from __future__ import annotations

import pytest

from elastic_yolo.progress import RateLine, TransferLine, describe_seconds, transfer_state


@pytest.mark.parametrize(
    ("done", "total", "moved", "seconds", "expected"),
    [
        (10_000_000, 30_000_000, 10_000_000, 5.0, "10.0 of 30.0 MB, 2.0 MB/s, 10 s left"),
        (20_000_000, 30_000_000, 5_000_000, 5.0, "20.0 of 30.0 MB, 1.0 MB/s, 10 s left"),
        (30_000_000, 30_000_000, 30_000_000, 2.0, "30.0 of 30.0 MB, 15.0 MB/s"),
        (10_000_000, 0, 10_000_000, 5.0, "10.0 MB, 2.0 MB/s"),
        (10_000_000, 30_000_000, 0, 0.0, "10.0 of 30.0 MB"),
        (2_000, 30_000_000, 2_000, 1.0, "0.0 of 30.0 MB, 0.0 MB/s, 14999 s left"),
        (6_100, 12_200, 6_100, 1.0, "6.1 of 12.2 kB, 6.1 kB/s, 1 s left"),
        (12_200, 12_200, 12_200, 0.0, "12.2 of 12.2 kB"),
    ],
)
def test_a_transfer_has_amount_rate_and_time_left(
    done: int, total: int, moved: int, seconds: float, expected: str
) -> None:
    """A resumed transfer's rate counts only what was moved now."""
    assert transfer_state(done, total, moved, seconds) == expected


def test_a_log_gets_the_end_of_a_transfer(capsys: pytest.CaptureFixture[str]) -> None:
    line = TransferLine()
    line.say("from here")
    for done in range(0, 1_000_001, 1000):
        line("file", done, 1_000_000)

    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert said[0] == "from here"
    assert said[1].startswith("file: 1.0 of 1.0 MB")


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        """Begin at 100 s."""
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_log_gets_the_rate_and_the_time_left_every_10_s(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = Clock()
    with RateLine(clock) as line:
        for done in range(1, 2001):
            clock.now = 100 + done / 50
            line(done, 2000, done // 500)

    # Later than 10 s after the last one, and at the end.
    assert capsys.readouterr().err.splitlines() == [
        "500 of 2,000 pictures, 50.0 pictures/s, 30 s left, 1 bad",
        "1,000 of 2,000 pictures, 50.0 pictures/s, 20 s left, 2 bad",
        "1,500 of 2,000 pictures, 50.0 pictures/s, 10 s left, 3 bad",
        "2,000 of 2,000 pictures, 50.0 pictures/s, 4 bad",
    ]


def test_the_rate_is_that_of_this_run(capsys: pytest.CaptureFixture[str]) -> None:
    """Of a job that goes on, most pictures may be done already."""
    clock = Clock()
    line = RateLine(clock)
    for done in range(9_001, 9_021):
        clock.now += 1
        line(done, 10_000, 0)

    assert capsys.readouterr().err.splitlines()[0] == (
        "9,010 of 10,000 pictures, 1.0 pictures/s, 16 min 30 s left"
    )


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0.0 s"),
        (0.84, "0.8 s"),
        (9.44, "9.4 s"),
        (9.5, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (185, "3 min 5 s"),
        (3599.7, "1 h 0 min"),
        (7_800_000, "2,166 h 40 min"),
    ],
)
def test_a_duration_in_words(seconds: float, expected: str) -> None:
    assert describe_seconds(seconds) == expected
