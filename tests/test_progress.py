"""Progress of downloads, in words."""

from __future__ import annotations

import pytest

from elastic_yolo.progress import TransferLine, transfer_state


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
