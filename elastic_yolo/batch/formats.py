"""The formats of results: from the detections of a shard to the content of one file.

`drawn` is not among them: it writes a file for each picture.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from elastic_yolo.batch.detecting import BadPicture
from elastic_yolo.batch.errors import BadInput
from elastic_yolo.detector.parallel import Found
from elastic_yolo.extras import naming_extra
from elastic_yolo.results.coco import coco_detections, last_part, number_labels, number_pictures
from elastic_yolo.results.json_lines import json_line
from elastic_yolo.results.result import Result

DRAWN = "drawn"
FORMATS = ("jsonl", "coco", "parquet", DRAWN)
# Of ext4, XFS, tmpfs and others.
_MOST_NAME_BYTES = 255


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
    """Return a line for each picture, as `elastic-yolo detect --json` prints it.

    Boxes are centre x, centre y, width and height in pixels of the upright picture.
    """
    return "".join(
        json_line(Result(row.name, row.found.detections, row.found.size)) for row in rows
    ).encode()


def encode_coco(rows: Sequence[Row], ids: CocoIds) -> bytes:
    """Return COCO's results: a list of detections.

    `file_name` is not part of that format; readers ignore it.
    """
    found = [
        {**entry, "file_name": row.name}
        for row in rows
        for entry in coco_detections(row.name, row.found.detections, ids.images, ids.categories)
    ]
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
            "picture": as_utf8(row.name),
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


def as_utf8(name: str) -> str:
    """Return a name of Linux, which may be any bytes, as text that every reader takes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def drawn_name(name: str) -> str:
    """Return where a picture with boxes is written, relative to the output folder.

    No part of it leads out of that folder, whatever an archive or a list file says.
    """
    parts = [part for part in re.split(r"[/\\\0]|://", name) if part not in ("", ".", "..")]
    path = "/".join(parts) or "picture"
    is_jpeg = path.lower().endswith((".jpg", ".jpeg"))
    return f"{DRAWN}/{path}" if is_jpeg else f"{DRAWN}/{path}.jpg"


def require_drawable_names(names: Iterable[str]) -> None:
    """Raise BadInput if two pictures with boxes, or a folder of them, would have the same name.

    And for a name that is too long.
    """
    taken: dict[str, str] = {}
    for name in names:
        target = drawn_name(name)
        if max(len(os.fsencode(part)) for part in target.split("/")) > _MOST_NAME_BYTES:
            raise BadInput(
                f"--format drawn: expected names of at most {_MOST_NAME_BYTES} bytes: {target}"
            )
        if target in taken:
            raise BadInput(f"--format drawn: {taken[target]} and {name} would become {target}")
        taken[target] = name
    for target, name in taken.items():
        for folder in _folders_of(target):
            if folder in taken:
                raise BadInput(
                    f"--format drawn: {taken[folder]} would become {folder}, the folder of {name}"
                )


def _folders_of(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def encode_errors(bad: Sequence[tuple[str, BadPicture]]) -> bytes:
    """Return a line for each bad picture: its name, what is wrong, and the kind of error."""
    lines = (
        json.dumps({"picture": name, "error": why.reason, "type": why.kind}) for name, why in bad
    )
    return "".join(f"{line}\n" for line in lines).encode()


def coco_ids(
    names: Sequence[str], labels: Sequence[str], annotations: Any | None = None
) -> CocoIds:
    """Return the numbers of pictures and labels.

    Those of `annotations`, a COCO ground truth, as parsed; otherwise the digits at the end of the
    names, as Darknet takes them (`examples/detector.c`, get_coco_image_id), if every name has some
    and they differ, or else 1 and up. Labels get the numbers that COCO gave its 80 categories if
    they are these, or else 1 and up. Raises BadInput if the annotations lack a name.
    """
    if annotations is None:
        return CocoIds(number_pictures(names), number_labels(labels))
    try:
        images = {str(one["file_name"]): int(one["id"]) for one in annotations["images"]}
        categories = {str(one["name"]): int(one["id"]) for one in annotations["categories"]}
    except (KeyError, TypeError, ValueError):
        raise BadInput(
            "expected a COCO ground truth: an object with `images` (id, file_name) and "
            "`categories` (id, name)"
        ) from None
    by_last: dict[str, set[int]] = {}
    for name, number in images.items():
        by_last.setdefault(last_part(name), set()).add(number)
    found = {name: images.get(name, _only(by_last.get(last_part(name)))) for name in names}
    _require(found, "file_name")
    if len(set(found.values())) < len(found):
        raise BadInput("several pictures have the same id")
    ids = {
        label: categories.get(label, categories.get(_COCO_NAMES.get(label, ""))) for label in labels
    }
    _require(ids, "category")
    return CocoIds(_without_none(found), _without_none(ids))


def _only(values: set[int] | None) -> int | None:
    return next(iter(values)) if values and len(values) == 1 else None


def _require(found: Mapping[str, int | None], what: str) -> None:
    missing = [name for name, number in found.items() if number is None]
    if missing:
        more = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
        raise BadInput(f"no {what} {missing[0]}{more}")


def _without_none(found: Mapping[str, int | None]) -> dict[str, int]:
    return {name: number for name, number in found.items() if number is not None}


# What Darknet's coco.names calls otherwise than COCO itself.
_COCO_NAMES = {
    "motorbike": "motorcycle",
    "aeroplane": "airplane",
    "sofa": "couch",
    "pottedplant": "potted plant",
    "diningtable": "dining table",
    "tvmonitor": "tv",
}
