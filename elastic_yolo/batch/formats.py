"""The formats of results: from the detections of a shard to the content of one file.

`drawn` is not among them: it writes a file for each picture.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from elastic_yolo.detector.parallel import Found
from elastic_yolo.extras import naming_extra

DRAWN = "drawn"
FORMATS = ("jsonl", "coco", "parquet", DRAWN)


@dataclass(frozen=True)
class Row:
    """The result for one picture; `number` is its place in the whole input."""

    number: int
    name: str
    found: Found


@dataclass(frozen=True)
class CocoIds:
    """COCO's numbers of pictures and categories, by name."""

    images: Mapping[str, int] = field(default_factory=dict)
    categories: Mapping[str, int] = field(default_factory=dict)


Encode = Callable[[Sequence[Row]], bytes]
"""Returns the content of a file with results."""


def file_name(form: str, shard: int) -> str:
    """Return the name of the file of a shard."""
    suffix = {"jsonl": ".jsonl", "coco": ".coco.json", "parquet": ".parquet"}[form]
    return f"results-{shard:05}{suffix}"


def error_file_name(shard: int) -> str:
    """Return the name of the file with the bad pictures of a shard."""
    return f"errors-{shard:05}.jsonl"


def encoder(form: str, ids: CocoIds) -> Encode:
    """Return what encodes rows in a format; raises MissingPackage if a package is missing."""
    match form:
        case "jsonl":
            return encode_jsonl
        case "coco":
            return lambda rows: encode_coco(rows, ids)
        case _:
            with naming_extra("--format parquet", "batch"):
                import pyarrow as pa  # noqa: F401, PLC0415  # missing at the start, not hours later
            return encode_parquet


def encode_jsonl(rows: Sequence[Row]) -> bytes:
    """Return a line for each picture, as `elastic-yolo detect --json` prints it, and its size.

    Boxes are centre x, centre y, width and height in pixels of the upright picture.
    """
    lines = []
    for row in rows:
        width, height = row.found.size
        value = {
            "picture": row.name,
            "data": [[item.label, item.score, list(item.box)] for item in row.found.detections],
            "image": {"width": width, "height": height},
        }
        lines.append(json.dumps(value, separators=(", ", ": ")))
    return "".join(f"{line}\n" for line in lines).encode()


def encode_coco(rows: Sequence[Row], ids: CocoIds) -> bytes:
    """Return COCO's results: a list of detections, whose bbox is left, top, width, height.

    Source: cocodataset.org, "Results Format". `file_name` is not part of it; readers ignore it.
    """
    found = []
    for row in rows:
        for item in row.found.detections:
            x, y, width, height = item.box
            left, top = round(x - width / 2, 2), round(y - height / 2, 2)
            found.append(
                {
                    "image_id": ids.images[row.name],
                    "category_id": ids.categories[item.label],
                    "bbox": [left, top, width, height],
                    "score": item.score,
                    "file_name": row.name,
                }
            )
    return json.dumps(found).encode()


def encode_parquet(rows: Sequence[Row]) -> bytes:
    """Return an Apache Parquet file with a row for each picture.

    Columns: picture, width, height, and detections, a list of label, score, x, y, width, height,
    of which x and y are the centre.
    """
    import pyarrow as pa  # noqa: PLC0415  # only this format needs it
    import pyarrow.parquet as pq  # noqa: PLC0415

    columns = ("score", "x", "y", "width", "height")
    detection = pa.struct([("label", pa.string()), *((name, pa.float64()) for name in columns)])
    schema = pa.schema(
        [
            ("picture", pa.string()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("detections", pa.list_(detection)),
        ]
    )
    values = [
        {
            # A name that is not UTF-8, as Linux allows.
            "picture": row.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace"),
            "width": row.found.size[0],
            "height": row.found.size[1],
            "detections": [
                dict(zip(("label", *columns), (one.label, one.score, *one.box), strict=True))
                for one in row.found.detections
            ],
        }
        for row in rows
    ]
    target = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(values, schema), target, compression="zstd")
    return target.getvalue()


def drawn_name(name: str) -> str:
    """Return where a picture with boxes is written, relative to the output folder.

    No part of it leads out of that folder, whatever an archive or a list file says.
    """
    parts = [part for part in re.split(r"[/\\]|://", name) if part not in ("", ".", "..")]
    path = PurePosixPath(*parts) if parts else PurePosixPath("picture")
    is_jpeg = path.suffix.lower() in (".jpg", ".jpeg")
    return f"drawn/{path}" if is_jpeg else f"drawn/{path}.jpg"


def require_different_targets(names: Sequence[str]) -> None:
    """Raise ValueError if two pictures with boxes would have the same name."""
    taken: dict[str, str] = {}
    for name in names:
        other = taken.setdefault(drawn_name(name), name)
        if other != name:
            raise ValueError(f"--format drawn: {other} and {name} would become {drawn_name(name)}")


def errors_jsonl(bad: Sequence[tuple[str, Exception]]) -> bytes:
    """Return a line for each bad picture: its name, what is wrong, and the kind of error."""
    lines = (
        json.dumps({"picture": name, "error": _described(error), "type": type(error).__name__})
        for name, error in bad
    )
    return "".join(f"{line}\n" for line in lines).encode()


def _described(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def coco_ids(
    names: Sequence[str], labels: Sequence[str], annotations: Any | None = None
) -> CocoIds:
    """Return the numbers of pictures and labels.

    Those of `annotations`, a COCO ground truth, as parsed; otherwise the digits at the end of the
    names, as Darknet takes them (`examples/detector.c`, get_coco_image_id), if every name has some
    and they differ, or else 1 and up. Labels get the numbers that COCO gave its 80 categories if
    they are these, or else 1 and up. Raises ValueError if the annotations lack a name.
    """
    if annotations is None:
        return CocoIds(_numbers_in(names), _category_ids(labels))
    try:
        images = {str(one["file_name"]): int(one["id"]) for one in annotations["images"]}
        categories = {str(one["name"]): int(one["id"]) for one in annotations["categories"]}
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            "expected a COCO ground truth: an object with `images` (id, file_name) and "
            "`categories` (id, name)"
        ) from None
    by_last = {PurePosixPath(name).name: number for name, number in images.items()}
    found = {name: images.get(name, by_last.get(PurePosixPath(name).name)) for name in names}
    _require(found, "file_name")
    ids = {
        label: categories.get(label, categories.get(_COCO_NAMES.get(label, ""))) for label in labels
    }
    _require(ids, "category")
    return CocoIds(_without_none(found), _without_none(ids))


def _require(found: Mapping[str, int | None], what: str) -> None:
    missing = [name for name, number in found.items() if number is None]
    if missing:
        more = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
        raise ValueError(f"no {what} {missing[0]}{more}")


def _without_none(found: Mapping[str, int | None]) -> dict[str, int]:
    return {name: number for name, number in found.items() if number is not None}


def _numbers_in(names: Sequence[str]) -> dict[str, int]:
    stems = [re.fullmatch(r"(?:.*_)?(\d{1,15})", PurePosixPath(name).stem) for name in names]
    numbers = [int(stem[1]) for stem in stems if stem]
    if len(set(numbers)) == len(names):
        return dict(zip(names, numbers, strict=True))
    return {name: number for number, name in enumerate(names, 1)}


def _category_ids(labels: Sequence[str]) -> dict[str, int]:
    is_coco = (len(labels), labels[0], labels[-1]) == (len(_COCO_NUMBERS), "person", "toothbrush")
    numbers = _COCO_NUMBERS if is_coco else range(1, len(labels) + 1)
    # Of two classes with the same label, the first.
    return dict(reversed(list(zip(labels, numbers, strict=True))))


# The numbers of COCO's 80 categories in the order of coco.names: of 90, ten were never used
# (`examples/detector.c`, coco_ids).
_UNUSED = frozenset({12, 26, 29, 30, 45, 66, 68, 69, 71, 83})
_COCO_NUMBERS = tuple(number for number in range(1, 91) if number not in _UNUSED)
# What Darknet's coco.names calls otherwise than COCO itself.
_COCO_NAMES = {
    "motorbike": "motorcycle",
    "aeroplane": "airplane",
    "sofa": "couch",
    "pottedplant": "potted plant",
    "diningtable": "dining table",
    "tvmonitor": "tv",
}
