"""Results as text: what is written can be read again, also if the end is missing."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO

from elastic_yolo.detection import Detection
from elastic_yolo.results.coco import coco_object, read_coco
from elastic_yolo.results.comma_separated import (
    COLUMNS,
    csv_header,
    csv_name,
    csv_rows,
    read_csv,
)
from elastic_yolo.results.json_lines import json_line, read_json_lines
from elastic_yolo.results.output import Appended, Output, read_results, to_file
from elastic_yolo.results.result import NotResults, Result
from elastic_yolo.results.table import table_rows

# Names of Linux: any bytes but NUL.
names = st.binary(min_size=1, max_size=12).map(
    lambda content: content.replace(b"\0", b"").decode("utf-8", "surrogateescape") or "x"
)
hundredths = st.integers(0, 10**6).map(lambda number: number / 100)
detections = st.builds(
    Detection,
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
    st.integers(0, 10**6).map(lambda number: number / 10**6),
    st.tuples(hundredths, hundredths, hundredths, hundredths),
)
results = st.builds(
    Result,
    names,
    st.lists(detections, max_size=3).map(tuple),
    st.tuples(st.integers(1, 10**5), st.integers(1, 10**5)),
)
lists = st.lists(results, max_size=4, unique_by=lambda result: csv_name(result.picture))
CAT = Result("a.jpg", (Detection("cat", 0.9, (100, 80, 40, 20)),), (640, 480))
NONE = Result('b\udcff\n<b>,".jpg', (), (32, 7))


@given(lists, st.data())
def test_json_lines_are_read_again_without_the_line_that_is_not_complete(
    written: list[Result], data: st.DataObject
) -> None:
    text = "".join(map(json_line, written))
    end = data.draw(st.integers(0, len(text)))

    found = read_json_lines(text[:end])

    assert found == written[: text[:end].count("\n")]
    assert read_json_lines(text) == written


@given(lists, st.data())
def test_csv_is_read_again_without_the_picture_that_is_not_complete(
    written: list[Result], data: st.DataObject
) -> None:
    """A picture counts only if all its rows are there, to the last digit."""
    rows = [csv_rows(one) for one in written]
    text = csv_header() + "".join(rows)
    end = data.draw(st.integers(0, len(text)))
    ends = [len(csv_header() + "".join(rows[:number])) for number in range(len(rows) + 1)]
    complete = sum(one <= end for one in ends[1:])
    expected = [
        Result(csv_name(one.picture), one.detections, one.size) for one in written[:complete]
    ]

    assert read_csv(text[:end]) == expected


@given(lists)
def test_coco_is_read_again_within_a_hundredth_of_a_pixel(written: list[Result]) -> None:
    found = read_coco(coco_object(written))

    assert [(one.picture, one.size) for one in found] == [
        (one.picture, one.size) for one in written
    ]
    for one, other in zip(found, written, strict=True):
        for left, right in zip(one.detections, other.detections, strict=True):
            assert (left.label, left.score) == (right.label, right.score)
            assert left.box == pytest.approx(right.box, abs=0.0101)


def test_csv_has_a_row_for_each_detection_and_one_for_a_picture_without(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text(csv_header() + csv_rows(CAT) + csv_rows(NONE), newline="")

    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))

    assert tuple(rows[0]) == COLUMNS
    assert rows[0] == dict(
        zip(COLUMNS, "a.jpg 640 480 1 cat 0.9 100 80 40 20".split(), strict=True)
    )
    assert (rows[1]["picture"], rows[1]["found"], rows[1]["label"]) == (
        'b\\udcff\n<b>,".jpg', "0", "",
    )  # fmt: skip
    assert len(rows) == 2


def test_coco_is_what_cocos_own_library_reads(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(coco_object([CAT, NONE]))

    found = COCO(str(path))

    (image,) = [one for one in found.imgs.values() if one["file_name"] == "a.jpg"]
    (annotation,) = found.imgToAnns[image["id"]]
    assert annotation["bbox"] == [80, 70, 40, 20]
    assert annotation["area"] == 800
    assert annotation["score"] == 0.9
    assert found.loadCats(annotation["category_id"])[0]["name"] == "cat"


def test_a_name_cannot_forge_a_line_of_the_table() -> None:
    evil = Result("x: 0 found\n\x1b[31m.jpg", (Detection("c\nat", 0.5, (1, 2, 3, 4)),), (9, 9))

    first, second = table_rows(evil).splitlines()

    assert first == r"x: 0 found\n\x1b[31m.jpg: 1 found"
    assert second.split() == [r"c\nat", "0.500", "1.00", "2.00", "3.00", "4.00"]


@pytest.mark.parametrize("form", ["jsonl", "csv", "coco"])
def test_a_file_is_complete_after_every_picture(form: str, tmp_path: Path) -> None:
    """Readers, and `tail -f`, see whole pictures. COCO's file is replaced at the end."""
    path = tmp_path / "r"
    seen = []

    with to_file(path, form, []) as output:
        for result in (CAT, NONE):
            output.add(result)
            seen.append(len(read_results(path, form)))

    assert seen == ([0, 0] if form == "coco" else [1, 2])
    assert [one.size for one in read_results(path, form)] == [(640, 480), (32, 7)]


@pytest.mark.parametrize("form", ["jsonl", "csv", "coco"])
def test_a_run_goes_on_behind_what_an_earlier_one_left(form: str, tmp_path: Path) -> None:
    path = tmp_path / "r"

    def write(result: Result) -> Callable[[Output], None]:
        return lambda output: output.add(result)

    with to_file(path, form, []) as output:
        write(CAT)(output)
    if form != "coco":
        with path.open("a") as file:
            file.write('{"picture": "torn' if form == "jsonl" else "torn,1,1")
    with to_file(path, form, read_results(path, form)) as output:
        write(NONE)(output)

    assert [one.size for one in read_results(path, form)] == [(640, 480), (32, 7)]


@pytest.mark.parametrize("form", ["jsonl", "csv", "coco"])
def test_a_file_of_something_else_is_refused(form: str, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("dear diary\nnothing happened\n")

    with pytest.raises(NotResults, match=r"notes.txt: "):
        read_results(path, form)


@pytest.mark.parametrize("form", ["jsonl", "csv", "coco"])
def test_an_absent_file_has_no_results(form: str, tmp_path: Path) -> None:
    assert read_results(tmp_path / "absent", form) == []


def test_a_line_keeps_what_the_service_said() -> None:
    result = Result("a", (), (1, 1), {"name": "m", "version": "1", "digest": "d"}, "0" * 32)

    value = json.loads(json_line(result))

    assert value == {
        "picture": "a",
        "data": [],
        "image": {"width": 1, "height": 1},
        "model": {"name": "m", "version": "1", "digest": "d"},
        "uid": "0" * 32,
    }
    assert read_json_lines(json_line(result)) == [result]


@pytest.mark.parametrize("form", ["jsonl", "csv", "coco"])
def test_of_a_link_the_file_behind_it_is_written(form: str, tmp_path: Path) -> None:
    link, target = tmp_path / "link", tmp_path / "target"
    link.symlink_to(target)

    with to_file(link, form, []) as output:
        output.add(Result("a.jpg", (), (1, 1)))

    assert link.is_symlink()
    assert [one.picture for one in read_results(target, form)] == ["a.jpg"]


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "results"
    path.write_text('{"picture": ["a"], "data": [], "image": {"width": 1, "height": 1}}\n')

    with pytest.raises(NotResults, match="line 1 is not the result"):
        read_results(path, "jsonl")


def lines_with(text: str) -> str:
    return json_line(CAT) + text


@pytest.mark.parametrize(
    ("form", "content"),
    [
        ("jsonl", "my only copy of notes"),
        ("jsonl", '{"images": [], "important": 1}'),
        ("jsonl", '{"picture": "a.jpg", "notes": "my only copy"}'),
        ("jsonl", lines_with("my notes")),
        ("jsonl", json_line(CAT).replace('"image":', '"important": 1, "image":')),
        ("csv", "a,b,c"),
        ("csv", "a,b,c\n"),
        ("csv", csv_header() + "my,notes\r\n"),
        ("csv", csv_header() + "my,notes\r\n" + csv_rows(CAT)),
        ("csv", csv_header() + "my,not"),
        ("coco", '{"images": [], "important": 1}'),
        ("coco", '{"images": [], "categories": [], "annotations": [], "info": {"year": 1}}'),
        ("coco", '{"images": [], "categories": [{"id": 7, "name": "x"}], "annotations": []}'),
        ("coco", coco_object([CAT]).replace('"width":', '"license": 1, "width":')),
    ],
)
def test_what_would_be_lost_is_refused(form: str, content: str, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text(content, newline="")

    with pytest.raises(NotResults, match="notes: "):
        read_results(path, form)


def test_an_error_of_a_full_disk_names_the_file() -> None:
    full = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115  # closed below
    with full, pytest.raises(OSError, match="No space left on device") as raised:
        Appended(full, "csv", "r.csv").add(CAT)

    assert raised.value.filename == "r.csv"
