"""Reading a timeline file that grows."""

from __future__ import annotations

from pathlib import Path

from elastic_yolo.lab.timeline import Sample, append_samples
from loadtest.follower import MOST_SAMPLES, Follower


def sample(at: float, tier: str = "inference", replicas: int = 1) -> Sample:
    return Sample(at, tier, replicas, replicas, replicas, 70)


def test_every_read_adds_only_new_samples(tmp_path: Path) -> None:
    file = tmp_path / "timeline.jsonl"
    follower = Follower(file)
    append_samples(file, [sample(1), sample(1, "web")])
    follower.read()

    append_samples(file, [sample(2, replicas=3)])
    follower.read()
    follower.read()

    assert list(follower.samples) == [sample(1), sample(1, "web"), sample(2, replicas=3)]
    assert follower.newest() == [sample(2, replicas=3), sample(1, "web")]
    assert follower.fault is None


def test_a_missing_file_is_read_once_it_exists(tmp_path: Path) -> None:
    file = tmp_path / "timeline.jsonl"
    follower = Follower(file)
    follower.read()

    assert follower.fault == f"{file}: No such file or directory"

    append_samples(file, [sample(1)])
    follower.read()

    assert list(follower.samples) == [sample(1)]
    assert follower.fault is None


def test_a_truncated_file_is_read_from_its_start(tmp_path: Path) -> None:
    file = tmp_path / "timeline.jsonl"
    follower = Follower(file)
    append_samples(file, [sample(1), sample(2)])
    follower.read()

    file.write_text("")
    append_samples(file, [sample(9)])
    follower.read()

    assert list(follower.samples) == [sample(9)]


def test_an_incomplete_line_waits_and_a_bad_line_is_skipped(tmp_path: Path) -> None:
    file = tmp_path / "timeline.jsonl"
    follower = Follower(file)
    append_samples(file, [sample(1)])
    whole = file.read_text()
    file.write_text("nonsense\n" + whole[:20])
    follower.read()

    assert follower.fault is not None
    assert list(follower.samples) == []

    with file.open("a") as writing:
        writing.write(whole[20:])
    follower.read()

    assert list(follower.samples) == [sample(1)]


def test_an_endless_file_takes_bounded_memory(tmp_path: Path) -> None:
    file = tmp_path / "timeline.jsonl"
    append_samples(file, [sample(at) for at in range(MOST_SAMPLES + 10)])
    follower = Follower(file)

    follower.read()

    assert len(follower.samples) == MOST_SAMPLES
    assert follower.samples[-1].at == MOST_SAMPLES + 9
