"""Files with detections of other programs: three forms, and what is refused."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any, Literal

import pytest

from elastic_yolo.comparison.detection_file import (
    DetectionFileError,
    parse_detections,
    read_detection_file,
)
from elastic_yolo.comparison.references import FileReference, Picture
from elastic_yolo.detector.boxes import Detection
from tests.support.pictures import encode, plain

LINES = (
    '{"picture": "client/photos/dog.jpg", "data": [["dog", 0.83, [253.4, 368.7, 257.9, 299.6]]]}\n'
    '{"picture": "C:\\\\photos\\\\kite.jpg", "data": []}\n'
)
# As `darknet detector test ... -ext_output -out result.json` of the fork writes it.
FORK = """[
{
 "frame_id":1, \n "filename":"data/dog.jpg", \n "objects": [ \n
  {"class_id":16, "name":"dog", "relative_coordinates":{"center_x":0.25, "center_y":0.5,
   "width":0.5, "height":0.25}, "confidence":0.981234},
  {"class_id":7, "name":"truck", "relative_coordinates":{"center_x":0.75, "center_y":0.2,
   "width":0.1, "height":0.1}, "confidence":0.5}
 ]
}, \n{
 "frame_id":2, \n "filename":"data/eagle.jpg", \n "objects": [ ] \n}
]"""
COCO: dict[str, Any] = {
    "images": [{"id": 7, "file_name": "dog.jpg"}, {"id": 8, "file_name": "kite.jpg"}],
    "categories": [{"id": 18, "name": "dog", "supercategory": "animal"}],
    "annotations": [
        {"image_id": 7, "category_id": 18, "bbox": [100, 50, 40, 20], "score": 0.9, "area": 800}
    ],
}


def test_lines_of_detect_are_read() -> None:
    found = parse_detections(LINES)

    assert list(found) == ["dog.jpg", "kite.jpg"]
    dog = Detection("dog", 0.83, (253.4, 368.7, 257.9, 299.6))
    assert found["dog.jpg"].in_pixels((768, 576)) == [dog]
    assert found["kite.jpg"].in_pixels((9, 9)) == []


def test_the_forks_fractions_become_pixels_of_the_picture() -> None:
    found = parse_detections(FORK)

    assert found["dog.jpg"].in_pixels((768, 576)) == [
        Detection("dog", 0.981234, (192, 288, 384, 144)),
        Detection("truck", 0.5, pytest.approx((576, 115.2, 76.8, 57.6))),
    ]
    assert found["eagle.jpg"].in_pixels((9, 9)) == []


def test_a_coco_object_has_corners_and_names() -> None:
    found = parse_detections(json.dumps(COCO))

    assert found["dog.jpg"].in_pixels((1, 1)) == [Detection("dog", 0.9, (120, 60, 40, 20))]
    assert found["kite.jpg"].in_pixels((1, 1)) == []


def changed(**parts: Any) -> str:
    return json.dumps(COCO | parts)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x.json: Invalid JSON"),
        ("dog 0.9", "Invalid JSON"),
        ("[" * 100_000, "recursion limit exceeded"),
        ("{}", "expected lines of `elastic-yolo detect --json`, result.json of Darknet, or a COCO"),
        (
            json.dumps(COCO["annotations"]),
            "COCO results without the names of images and categories",
        ),
        ('[{"filename": "a.jpg"}]', r"x\.json: record 1: objects: Field required"),
        (
            FORK.replace("0.981234", "1.5"),
            r"record 1: objects\.0\.confidence: Input should be less",
        ),
        (
            FORK.replace('"dog"', '"dog\\u001b[2J"'),
            r"record 1: objects\.0\.name: expected printable",
        ),
        (FORK.replace("eagle", "dog"), r"two pictures are called dog\.jpg: rename one"),
        (
            FORK.replace("0.5}", '"x"}'),
            r"record 1: objects\.1\.confidence: Input should be a valid n",
        ),
        (FORK.replace('"filename":"data/eagle.jpg",', ""), "record 2: filename: Field required"),
        (LINES.replace("299.6", "-1"), r"x\.json: line 1: data\.0\.2\.3: Input should be greater"),
        ("\n\n" + LINES.replace("data", "date"), r"x\.json: line 3: data: Field required"),
        (LINES.replace("299.6", "1e400"), "data.0.2.3: Input should be"),
        (LINES + "\n{half a li", r"line 4: Invalid JSON: key must be a string at column 2"),
        (LINES + "[]", r"line 3: Input should be an object"),
        (changed(images=[{"id": 1}]), r"x\.json: images: record 1: file_name: Field required"),
        (changed(categories=[]), "an annotation of category 18 in image 7: expected an entry"),
        (changed(images=[]), "an annotation of category 18 in image 7"),
        (changed(annotations=COCO["annotations"] * 4001), "image 7: expected at most 4,000"),
    ],
)
def test_another_form_is_refused_with_one_line(text: str, message: str) -> None:
    with pytest.raises(DetectionFileError, match=message) as raised:
        parse_detections(text, Path("x.json"))

    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("other", ["NFC", "NFD"])
def test_a_picture_is_found_in_either_spelling_of_its_letters(
    tmp_path: Path, form: Literal["NFC", "NFD"], other: Literal["NFC", "NFD"]
) -> None:
    """On macOS an accent in a file name is a letter of its own."""
    name, data = "Stra\u00dfe-caf\u00e9.jpg", encode(plain(8, 8))
    line = {"picture": unicodedata.normalize(form, name), "data": [["dog", 0.5, [4, 4, 2, 2]]]}
    (tmp_path / "theirs.json").write_text(json.dumps(line))

    picture = Picture(Path(unicodedata.normalize(other, name)), data)
    found = FileReference(tmp_path / "theirs.json").detect(picture, 0.0, 0.5)

    assert found == [Detection("dog", 0.5, (4, 4, 2, 2))]


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\0\1")

    with pytest.raises(DetectionFileError, match="not a text file"):
        read_detection_file(tmp_path / "binary")
    with pytest.raises(DetectionFileError, match="not a regular file"):
        read_detection_file(tmp_path)
