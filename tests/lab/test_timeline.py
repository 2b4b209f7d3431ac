"""The timeline file: reading what was written, also while it grows."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic_yolo.lab.timeline import Sample, append_samples, parse_sample, read_timeline

SCALED = Sample(
    at=1764190000.25,
    tier="inference",
    replicas=2,
    ready=1,
    desired=3,
    target_percent=70,
    cpu_percent=131.0,
    cpu_s=1.31,
    why="2 -> 3: 131 % > 70 %, wants 4, scaleUp allows 3",
)


def test_samples_are_read_in_the_order_of_writing(tmp_path: Path) -> None:
    file = tmp_path / "timeline.jsonl"
    idle = Sample(1764190001.25, "web", 1, 1, 1, 70)

    append_samples(file, [SCALED])
    append_samples(file, [idle])

    assert read_timeline(file) == [SCALED, idle]


@given(
    st.builds(
        Sample,
        at=st.floats(0, 1e10),
        tier=st.text(),
        replicas=st.integers(0, 100),
        ready=st.integers(0, 100),
        desired=st.integers(0, 100),
        target_percent=st.none() | st.integers(1, 100),
        cpu_percent=st.none() | st.floats(0, 1e4),
        cpu_s=st.none() | st.floats(0, 1e4),
        why=st.text(),
    )
)
def test_every_sample_survives_the_file(
    tmp_path_factory: pytest.TempPathFactory, sample: Sample
) -> None:
    file = tmp_path_factory.mktemp("timeline") / "timeline.jsonl"

    append_samples(file, [sample, sample])

    assert read_timeline(file) == [sample, sample]


def test_an_incomplete_last_line_is_omitted(tmp_path: Path) -> None:
    file = tmp_path / "timeline.jsonl"
    append_samples(file, [SCALED])
    with file.open("a") as writing:
        writing.write('{"at": 1764190001.25, "tier": "we')

    assert read_timeline(file) == [SCALED]


def test_an_invalid_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "timeline.jsonl"
    append_samples(file, [SCALED])
    with file.open("a") as writing:
        writing.write('{"at": 1, "tier": "web", "replicas": "two"}\n')

    with pytest.raises(
        ValueError, match=r"timeline\.jsonl, line 2: replicas is not a number: 'two'"
    ):
        read_timeline(file)


@pytest.mark.parametrize("line", ["[]", "{}", "1", "nonsense", '{"tier": "web", "at": true}'])
def test_other_lines_are_a_value_error(line: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_sample(line)


def test_unknown_cpu_is_none_and_unknown_keys_are_ignored() -> None:
    line = (
        '{"at": 1, "tier": "web", "replicas": 1, "ready": 1, "desired": 1, '
        '"cpu_percent": null, "target_percent": 70, "zone": "a"}'
    )

    assert parse_sample(line) == Sample(1, "web", 1, 1, 1, 70)
