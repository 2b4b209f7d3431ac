"""The formats of results, value by value, and read by the libraries that they are for."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from elastic_yolo.batch.detecting import BadPicture
from elastic_yolo.batch.errors import BadInput
from elastic_yolo.batch.formats import (
    CocoIds,
    Row,
    coco_ids,
    drawn_name,
    encode_coco,
    encode_errors,
    encode_jsonl,
    encode_parquet,
    require_drawable_names,
)
from elastic_yolo.detector.boxes import Detection
from elastic_yolo.detector.parallel import Found

# The categories of the data set of 2017, as `categories` in its instances_val2017.json.
COCO_CATEGORIES = """
1 person, 2 bicycle, 3 car, 4 motorcycle, 5 airplane, 6 bus, 7 train, 8 truck, 9 boat,
10 traffic light, 11 fire hydrant, 13 stop sign, 14 parking meter, 15 bench, 16 bird, 17 cat,
18 dog, 19 horse, 20 sheep, 21 cow, 22 elephant, 23 bear, 24 zebra, 25 giraffe, 27 backpack,
28 umbrella, 31 handbag, 32 tie, 33 suitcase, 34 frisbee, 35 skis, 36 snowboard, 37 sports ball,
38 kite, 39 baseball bat, 40 baseball glove, 41 skateboard, 42 surfboard, 43 tennis racket,
44 bottle, 46 wine glass, 47 cup, 48 fork, 49 knife, 50 spoon, 51 bowl, 52 banana, 53 apple,
54 sandwich, 55 orange, 56 broccoli, 57 carrot, 58 hot dog, 59 pizza, 60 donut, 61 cake, 62 chair,
63 couch, 64 potted plant, 65 bed, 67 dining table, 70 toilet, 72 tv, 73 laptop, 74 mouse,
75 remote, 76 keyboard, 77 cell phone, 78 microwave, 79 oven, 80 toaster, 81 sink,
82 refrigerator, 84 book, 85 clock, 86 vase, 87 scissors, 88 teddy bear, 89 hair drier,
90 toothbrush
"""
# In Darknet's coco.names.
DARKNETS = {
    "motorcycle": "motorbike",
    "airplane": "aeroplane",
    "couch": "sofa",
    "potted plant": "pottedplant",
    "dining table": "diningtable",
    "tv": "tvmonitor",
}


def published() -> dict[str, int]:
    """Return COCO's own names and numbers."""
    pairs = (one.split(maxsplit=1) for one in COCO_CATEGORIES.replace("\n", " ").split(","))
    return {name.strip(): int(number) for number, name in pairs}


def row(
    name: str, *boxes: tuple[str, float, Sequence[float]], size: tuple[int, int] = (640, 480)
) -> Row:
    found = tuple(Detection(label, score, tuple(box)) for label, score, box in boxes)  # type: ignore[arg-type]
    return Row(0, name, Found(found, size))


ROWS = [
    row("a.jpg", ("cat", 0.9, [100, 80, 40, 20]), ("höf", 0.5, [10.25, 20.5, 0.5, 1.33])),
    row("b/\udcff\n.jpg", size=(32, 7)),
]


def test_a_line_of_json_has_boxes_by_their_centre_and_the_size_of_the_picture() -> None:
    lines = encode_jsonl(ROWS).decode("ascii").splitlines()

    assert [json.loads(line) for line in lines] == [
        {
            "picture": "a.jpg",
            "data": [["cat", 0.9, [100, 80, 40, 20]], ["höf", 0.5, [10.25, 20.5, 0.5, 1.33]]],
            "image": {"width": 640, "height": 480},
        },
        {"picture": "b/\udcff\n.jpg", "data": [], "image": {"width": 32, "height": 7}},
    ]
    assert encode_jsonl([]) == b""


def test_coco_has_boxes_by_their_corner() -> None:
    ids = CocoIds({"a.jpg": 7, "b/\udcff\n.jpg": 8}, {"cat": 17, "höf": 18})

    assert json.loads(encode_coco(ROWS, ids)) == [
        {
            "image_id": 7,
            "category_id": 17,
            "bbox": [80, 70, 40, 20],
            "score": 0.9,
            "file_name": "a.jpg",
        },
        {
            "image_id": 7,
            "category_id": 18,
            "bbox": [10.0, 19.84, 0.5, 1.33],
            "score": 0.5,
            "file_name": "a.jpg",
        },
    ]
    assert encode_coco([], ids) == b"[]"


def test_parquet_has_a_row_for_each_picture() -> None:
    table = pq.read_table(io.BytesIO(encode_parquet(ROWS)))

    assert table.to_pylist() == [
        {
            "picture": "a.jpg", "width": 640, "height": 480,
            "detections": [
                {"label": "cat", "score": 0.9, "x": 100, "y": 80, "width": 40, "height": 20},
                {"label": "höf", "score": 0.5, "x": 10.25, "y": 20.5, "width": 0.5, "height": 1.33},
            ],
        },
        {"picture": "b/\ufffd\n.jpg", "width": 32, "height": 7, "detections": []},
    ]  # fmt: skip


def test_a_shard_without_pictures_has_the_columns_of_the_others() -> None:
    """All of its pictures may be bad; readers take the files of a folder together."""
    none, some = (pq.read_table(io.BytesIO(encode_parquet(rows))) for rows in ([], ROWS))

    assert none.num_rows == 0
    assert none.schema == some.schema


def test_errors_name_the_picture_the_reason_and_its_kind() -> None:
    bad = BadPicture("expected\nJPEG", "NotAPicture")

    assert encode_errors([("a.jpg", bad), ("b.jpg", bad)]).splitlines() == [
        b'{"picture": "a.jpg", "error": "expected\\nJPEG", "type": "NotAPicture"}',
        b'{"picture": "b.jpg", "error": "expected\\nJPEG", "type": "NotAPicture"}',
    ]


def truth(boxes: dict[str, list[tuple[str, list[float]]]]) -> dict[str, Any]:
    """Return a ground truth of COCO, with numbers that nobody would guess."""
    images = [
        {"id": 1000 - n, "file_name": f"val/{name}", "width": 640, "height": 480}
        for n, name in enumerate(boxes)
    ]
    categories = [{"id": 11, "name": "dog"}, {"id": 5, "name": "cat"}]
    ids = {one["name"]: one["id"] for one in categories}
    objects = [
        {
            "id": 50 + n, "image_id": image["id"], "category_id": ids[label], "bbox": box,
            "area": box[2] * box[3], "iscrowd": 0,
        }
        for n, (image, (label, box)) in enumerate(
            (image, one)
            for image, found in zip(images, boxes.values(), strict=True)
            for one in found
        )
    ]  # fmt: skip
    return {"images": images, "categories": categories, "annotations": objects}


def precision(annotations: dict[str, Any], results: bytes, folder: Path) -> list[float]:
    """Return what COCOeval says of results: AP, and AP at an IoU of 0.5."""
    (folder / "truth.json").write_text(json.dumps(annotations))
    (folder / "results.json").write_bytes(results)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(folder / "truth.json")
        evaluation = COCOeval(coco, coco.loadRes(str(folder / "results.json")), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [float(value) for value in evaluation.stats[:2]]


def test_cocoeval_finds_what_was_found(tmp_path: Path) -> None:
    """Of three dogs two are found, one of them only nearly; the cat exactly."""
    annotations = truth(
        {
            "a.jpg": [("cat", [80, 70, 40, 20]), ("dog", [200, 100, 100, 100])],
            "b.jpg": [("dog", [0, 0, 50, 50])],
            "c.jpg": [("dog", [300, 300, 60, 60])],
        }
    )
    ids = coco_ids(["a.jpg", "b.jpg", "c.jpg"], ["dog", "cat"], annotations)
    rows = [
        row("a.jpg", ("cat", 0.9, [100, 80, 40, 20]), ("dog", 0.8, [250, 150, 100, 100])),
        # IoU 0.8: two thirds of the thresholds from 0.5 to 0.95 accept it.
        row("b.jpg", ("dog", 0.7, [25, 20, 50, 40])),
        row("c.jpg"),
    ]

    found, found_half = precision(annotations, encode_coco(rows, ids), tmp_path)

    # Precision 1 up to a recall of 1/3 or 2/3, at 101 points; and the cat.
    one, two = 34 / 101, 67 / 101
    assert found_half == pytest.approx((two + 1) / 2)
    assert found == pytest.approx(((7 * two + 3 * one) / 10 + 1) / 2)


def test_without_annotations_the_digits_at_the_end_of_names_are_ids() -> None:
    names = ["COCO_val2014_000000000042.jpg", "x/000000581929.png", "7", "a_8.b.jpg", "_0.jpg"]

    assert list(coco_ids(names[:3], ["a"]).images.values()) == [42, 581929, 7]
    # Not all names have some, or they are not different.
    assert list(coco_ids(names, ["a"]).images.values()) == [1, 2, 3, 4, 5]
    assert list(coco_ids(["a/1.jpg", "b/1.jpg"], ["a"]).images.values()) == [1, 2]
    assert list(coco_ids(["a.jpg"], ["a"]).images.values()) == [1]


def test_the_80_categories_have_their_published_numbers() -> None:
    labels = [DARKNETS.get(name, name) for name in published()]

    assert list(coco_ids([], labels).categories.values()) == list(published().values())
    assert len(labels) == 80


def test_other_labels_are_numbered_from_1_and_of_two_alike_the_first_counts() -> None:
    assert coco_ids([], ["b", "a", "b"]).categories == {"b": 1, "a": 2}


def test_categories_of_annotations_are_found_by_darknets_names_as_well() -> None:
    categories = [{"id": number + 100, "name": name} for name, number in published().items()]
    labels = [DARKNETS.get(name, name) for name in published()]

    found = coco_ids([], labels, {"images": [], "categories": categories}).categories

    assert list(found.values()) == [number + 100 for number in published().values()]


@pytest.mark.parametrize(
    ("names", "labels", "annotations", "why"),
    [
        (["x.jpg", "y.jpg"], ["cat"], {}, "no file_name x.jpg and 1 more"),
        (["a.jpg"], ["cat", "bird"], {}, "no category bird"),
        (["a.jpg", "x/a.jpg"], ["cat"], {}, "several pictures have the same id"),
        (["a.jpg"], ["cat"], {"images": 1}, "expected a COCO ground truth"),
        (["a.jpg"], ["cat"], {"categories": [{"id": 1}]}, "expected a COCO ground truth"),
        (
            ["a.jpg"],
            ["cat"],
            {"images": [{"file_name": f"{n}/a.jpg", "id": n} for n in (1, 2)]},
            "no file_name a.jpg",
        ),
    ],
)
def test_annotations_that_do_not_fit_are_refused(
    names: list[str], labels: list[str], annotations: dict[str, Any], why: str
) -> None:
    with pytest.raises(BadInput, match=why):
        coco_ids(names, labels, truth({"a.jpg": []}) | annotations)


def test_a_list_is_no_ground_truth() -> None:
    with pytest.raises(BadInput, match="expected a COCO ground truth"):
        coco_ids(["a.jpg"], ["cat"], [])


@given(st.text(st.sampled_from("./\\:aé\0-~ \n") | st.characters(), max_size=30))
def test_a_picture_with_boxes_never_leaves_its_folder(name: str) -> None:
    found = drawn_name(name)

    assert os.path.normpath(found) == found
    assert found.startswith("drawn/")
    assert "\0" not in found
    assert found.lower().endswith((".jpg", ".jpeg"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/b.JPG", "drawn/a/b.JPG"),
        ("a/b.png", "drawn/a/b.png.jpg"),
        ("../../etc/x.jpg", "drawn/etc/x.jpg"),
        ("/data/x.jpg", "drawn/data/x.jpg"),
        ("s3://bucket/a/x.jpg", "drawn/s3/bucket/a/x.jpg"),
        ("C:\\photos\\x.jpg", "drawn/C:/photos/x.jpg"),
        ("..", "drawn/picture.jpg"),
    ],
)
def test_a_picture_with_boxes_has_the_name_of_the_picture(name: str, expected: str) -> None:
    assert drawn_name(name) == expected


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["a.jpg", "./a.jpg"], "a.jpg and ./a.jpg would become drawn/a.jpg"),
        (["a.png", "a.png.jpg"], "a.png and a.png.jpg would become drawn/a.png.jpg"),
        (
            ["x/a.jpg", "x/a.jpg/b.jpg"],
            "x/a.jpg would become drawn/x/a.jpg, the folder of x/a.jpg/b",
        ),
        ([f"{'é' * 127}.png"], "expected names of at most 255 bytes: drawn/é"),
    ],
)
def test_names_that_cannot_all_be_drawn_are_refused(names: list[str], why: str) -> None:
    require_drawable_names(["other.jpg", "x/other.jpg", "é\udcff.jpg"])

    with pytest.raises(BadInput, match=f"--format drawn: {why}"):
        require_drawable_names(names)
