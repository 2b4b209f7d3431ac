"""COCO: numbers of pictures and categories, and detections with them.

Source: cocodataset.org, "Data Format" and "Results Format".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from elastic_yolo.detection import Detection
from elastic_yolo.results.result import NotResults, Result

# The numbers of COCO's 80 categories in the order of coco.names: of 90, ten were never used
# (`examples/detector.c`, coco_ids).
_UNUSED = frozenset({12, 26, 29, 30, 45, 66, 68, 69, 71, 83})
COCO_NUMBERS = tuple(number for number in range(1, 91) if number not in _UNUSED)


_KEYS = {
    "images": {"id", "file_name", "width", "height"},
    "categories": {"id", "name"},
    "annotations": {"id", "image_id", "category_id", "bbox", "score", "area", "iscrowd"},
}


def number_pictures(names: Sequence[str]) -> dict[str, int]:
    """Return the numbers of pictures, by name.

    They are the digits at the end of the names, as Darknet takes them (`examples/detector.c`,
    get_coco_image_id), if every name has some and they differ, or else 1 and up.
    """
    found = [re.fullmatch(r"(?:.*_)?([0-9]{1,15})(?:\.[^.]*)?", last_part(name)) for name in names]
    numbers = [int(one[1]) for one in found if one]
    if len(set(numbers)) == len(names):
        return dict(zip(names, numbers, strict=True))
    return {name: number for number, name in enumerate(names, 1)}


def number_labels(labels: Sequence[str]) -> dict[str, int]:
    """Return the numbers of a model's labels: COCO's own if they are its 80, or else 1 and up."""
    is_coco = len(labels) == len(COCO_NUMBERS) and (labels[0], labels[-1]) == (
        "person",
        "toothbrush",
    )
    numbers = COCO_NUMBERS if is_coco else range(1, len(labels) + 1)
    ids: dict[str, int] = {}
    for label, number in zip(labels, numbers, strict=True):
        # Of two classes with the same label, the first.
        ids.setdefault(label, number)
    return ids


def last_part(name: str) -> str:
    """Return the part of a name behind its last slash."""
    return name[name.rfind("/") + 1 :]


def coco_detections(
    name: str,
    detections: Sequence[Detection],
    images: Mapping[str, int],
    categories: Mapping[str, int],
) -> Iterator[dict[str, Any]]:
    """Yield an entry of COCO's results for each detection; bbox is left, top, width, height."""
    for item in detections:
        x, y, width, height = item.box
        left, top = round(x - width / 2, 2), round(y - height / 2, 2)
        yield {
            "image_id": images[name],
            "category_id": categories[item.label],
            "bbox": [left, top, width, height],
            "score": item.score,
        }


def coco_object(results: Sequence[Result]) -> str:
    """Return one COCO object: images, the categories that were found, and annotations with scores.

    Nothing tells which labels the model of a service has. Categories are therefore numbered in the
    order of their names, and read by their names.
    """
    # Of a picture that was passed twice, the last one.
    by_name = {result.picture: result for result in results}
    images = number_pictures(list(by_name))
    labels = sorted({item.label for result in by_name.values() for item in result.detections})
    categories = number_labels(labels)
    entries = [
        entry
        for result in by_name.values()
        for entry in coco_detections(result.picture, result.detections, images, categories)
    ]
    value = {
        "images": [
            {
                "id": images[name],
                "file_name": name,
                "width": result.size[0],
                "height": result.size[1],
            }
            for name, result in by_name.items()
        ],
        "categories": [{"id": number, "name": name} for name, number in categories.items()],
        "annotations": [
            {
                "id": number,
                **entry,
                "area": round(entry["bbox"][2] * entry["bbox"][3], 2),
                "iscrowd": 0,
            }
            for number, entry in enumerate(entries, 1)
        ],
    }
    return json.dumps(value) + "\n"


def read_coco(text: str) -> list[Result]:
    """Return the results of a file that `coco_object` has written; raises NotResults."""
    if not text:
        return []
    try:
        value = json.loads(text)
        _check_whole(value)
        labels = {one["id"]: one["name"] for one in value["categories"]}
        found: dict[int, list[Detection]] = {one["id"]: [] for one in value["images"]}
        for one in value["annotations"]:
            left, top, width, height = one["bbox"]
            # Its left and top were rounded to hundredths.
            box = (round(left + width / 2, 2), round(top + height / 2, 2), width, height)
            found[one["image_id"]].append(Detection(labels[one["category_id"]], one["score"], box))
        return [
            Result(one["file_name"], tuple(found[one["id"]]), (one["width"], one["height"]))
            for one in value["images"]
        ]
    except NotResults:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise NotResults("not the COCO object of an earlier run") from None


def _check_whole(value: dict[str, Any]) -> None:
    """Raise NotResults if an object has more than `coco_object` writes: it would be lost."""
    further = value.keys() - _KEYS.keys()
    for part, keys in _KEYS.items():
        for one in value[part]:
            further |= one.keys() - keys
    if further:
        names = ", ".join(sorted(map(ascii, further)))
        raise NotResults(f"has more than an earlier run has written: {names}")
    used = {one["category_id"] for one in value["annotations"]}
    if used != {one["id"] for one in value["categories"]}:
        raise NotResults("has other categories than its annotations")
