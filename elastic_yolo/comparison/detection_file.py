"""Read detections of another program from a file, in one of three forms.

- JSON lines as `elastic-yolo detect --json` prints them.
- `result.json` of AlexeyAB's fork (`darknet detector test ... -ext_output -out result.json`): a
  list of frames, with boxes as fractions of the picture (`src/image.c`, detection_to_json).
- One COCO object with `images`, `categories` and `annotations` that have a `score`: its `bbox` is
  x, y, width, height in pixels, from the top left corner.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from elastic_yolo.detector.boxes import Detection
from elastic_yolo.detector.errors import ModelError
from elastic_yolo.detector.files import read_text

# A detection takes about 100 bytes: the file has 40,000 pictures with 15 objects each.
_MOST_BYTES = 64 * 2**20
# As many as NMS lets pass: each is compared with all of its label.
_MOST_OBJECTS = 4000
_FORMS = "expected lines of `elastic-yolo detect --json`, result.json of Darknet, or a COCO object"


class DetectionFileError(ModelError):
    """A file with detections cannot be used."""


@dataclass(frozen=True)
class StatedPicture:
    """The detections in a picture; boxes are in pixels, or fractions of its size if `relative`."""

    detections: tuple[Detection, ...]
    relative: bool = False

    def in_pixels(self, size: tuple[int, int]) -> list[Detection]:
        """Return the detections in pixels of a picture of this (width, height)."""
        if not self.relative:
            return list(self.detections)
        width, height = size
        return [
            Detection(one.label, one.score, (x * width, y * height, w * width, h * height))
            for one in self.detections
            for x, y, w, h in [one.box]
        ]


def _printable(label: str) -> str:
    # Labels are printed and drawn: an escape sequence in one is an attack.
    if not label.isprintable():
        raise ValueError("expected printable characters")
    return label


_Label = Annotated[str, Field(max_length=200), AfterValidator(_printable)]
_Score = Annotated[float, Field(ge=0, le=1)]
_Number = Annotated[float, Field(allow_inf_nan=False, ge=-1e7, le=1e7)]
_Size = Annotated[float, Field(allow_inf_nan=False, ge=0, le=1e7)]
_Box = tuple[_Number, _Number, _Size, _Size]


class _Stated(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Line(_Stated):
    picture: str
    data: Annotated[list[tuple[_Label, _Score, _Box]], Field(max_length=_MOST_OBJECTS)]


class _Relative(_Stated):
    center_x: _Number
    center_y: _Number
    width: _Size
    height: _Size


class _Object(_Stated):
    name: _Label
    confidence: _Score
    relative_coordinates: _Relative


class _Frame(_Stated):
    filename: str
    objects: Annotated[list[_Object], Field(max_length=_MOST_OBJECTS)]


class _CocoImage(_Stated):
    id: int | str
    file_name: str


class _CocoCategory(_Stated):
    id: int
    name: _Label


class _CocoAnnotation(_Stated):
    image_id: int | str
    category_id: int
    bbox: _Box
    score: _Score


class _Coco(_Stated):
    images: list[_CocoImage]
    categories: list[_CocoCategory]
    annotations: list[_CocoAnnotation]


_FRAMES = TypeAdapter(list[_Frame])
_ANY: TypeAdapter[Any] = TypeAdapter(Any)


def read_detection_file(path: Path) -> dict[str, StatedPicture]:
    """Return the detections by `picture_name`; raises DetectionFileError."""
    text = read_text(path, _MOST_BYTES, DetectionFileError)
    return parse_detections(text, path)


def parse_detections(text: str, path: Path = Path("detections.json")) -> dict[str, StatedPicture]:
    """Parse the text of a file with detections; `path` only appears in errors."""
    try:
        return _by_name(_parse(text), path)
    except ValidationError as error:
        raise DetectionFileError(f"{path}: {_describe(error)}") from None
    except ValueError as error:
        raise DetectionFileError(f"{path}: {error}") from None


def picture_name(path: str) -> str:
    """Return what identifies a picture: its base name, composed.

    The file may come from a machine with other folders, or from macOS, which decomposes letters.
    """
    return unicodedata.normalize("NFC", path.replace("\\", "/").rpartition("/")[2])


def _describe(error: ValidationError) -> str:
    """Return the place and the reason of the first error; records count from 1, as lines do."""
    wrong = error.errors(include_url=False)[0]
    match wrong["loc"]:
        case (int(number), *rest):
            place = [f"record {number + 1}"]
        case ("images" | "categories" | "annotations" as name, int(number), *rest):
            place = [f"{name}: record {number + 1}"]
        case (*rest,):
            place = []
    field = [".".join(map(str, rest))] if rest else []
    return ": ".join([*place, *field, wrong["msg"].removeprefix("Value error, ")])


def _parse_line(number: int, line: str) -> _Line:
    try:
        return _Line.model_validate_json(line)
    except ValidationError as error:
        # The parser knows this line only.
        reason = _describe(error).replace(" at line 1 column ", " at column ")
        raise ValueError(f"line {number}: {reason}") from None


def _parse(text: str) -> Iterator[tuple[str, StatedPicture]]:
    """Yield the path and the detections of each picture; raises ValueError."""
    # Not splitlines(), which knows further ends of lines, that JSON allows in a name.
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if lines and '"picture"' in lines[0][1] and lines[0][1].lstrip().startswith("{"):
        for number, line in lines:
            stated = _parse_line(number, line)
            yield stated.picture, StatedPicture(tuple(Detection(*one) for one in stated.data))
        return
    # Unlike json.loads, it limits the depth.
    document = _ANY.validate_json(text)
    match document:
        case [{"bbox": _, "category_id": _}, *_]:
            raise ValueError(
                "COCO results without the names of images and categories: expected an object with "
                "images, categories and annotations"
            )
        case list():
            yield from map(_of_frame, _FRAMES.validate_python(document))
        case {"annotations": _}:
            yield from _of_coco(_Coco.model_validate(document))
        case _:
            raise ValueError(_FORMS)


def _of_frame(frame: _Frame) -> tuple[str, StatedPicture]:
    detections = (
        Detection(one.name, one.confidence, (at.center_x, at.center_y, at.width, at.height))
        for one in frame.objects
        for at in [one.relative_coordinates]
    )
    return frame.filename, StatedPicture(tuple(detections), relative=True)


def _of_coco(coco: _Coco) -> Iterator[tuple[str, StatedPicture]]:
    labels = {one.id: one.name for one in coco.categories}
    found: dict[Any, list[Detection]] = {image.id: [] for image in coco.images}
    for one in coco.annotations:
        if one.category_id not in labels or one.image_id not in found:
            raise ValueError(
                f"an annotation of category {one.category_id} in image {one.image_id}: expected an "
                "entry for both in categories and images"
            )
        if len(found[one.image_id]) == _MOST_OBJECTS:
            raise ValueError(f"image {one.image_id}: expected at most {_MOST_OBJECTS:,} objects")
        left, top, width, height = one.bbox
        box = (left + width / 2, top + height / 2, width, height)
        found[one.image_id].append(Detection(labels[one.category_id], one.score, box))
    for image in coco.images:
        yield image.file_name, StatedPicture(tuple(found[image.id]))


def _by_name(pictures: Iterable[tuple[str, StatedPicture]], path: Path) -> dict[str, StatedPicture]:
    """Index pictures by name; raises DetectionFileError for two of the same."""
    found: dict[str, StatedPicture] = {}
    for given, stated in pictures:
        name = picture_name(given)
        if name in found:
            raise DetectionFileError(f"{path}: two pictures are called {name}: rename one")
        found[name] = stated
    return found
