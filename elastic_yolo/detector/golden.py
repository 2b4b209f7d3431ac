"""The picture whose answer is known: what the model's owner states in model.yaml."""

from __future__ import annotations

from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.errors import ModelError
from elastic_yolo.detector.files import read_small
from elastic_yolo.detector.manifest import GoldenStatement
from elastic_yolo.detector.model import Model
from elastic_yolo.picture.agreement import find_difference
from elastic_yolo.picture.errors import PictureError

# As much as model.py accepts when it looks at the folder.
_MOST_BYTES = 2**24


def read_golden(model: Model, golden: GoldenStatement) -> bytes:
    """Return the file of a model's golden picture; raises ModelError."""
    return read_small(model.folder / golden.picture, _MOST_BYTES)


def golden_difference(detector: Detector) -> str | None:
    """Return the first difference from the expected answer in words, or None if there is none.

    None also without a golden picture. Raises ModelError if it cannot be read or decoded.
    """
    golden = detector.model.golden
    if golden is None:
        return None
    try:
        found = detector.detect(read_golden(detector.model, golden))
    except PictureError as error:
        raise ModelError(f"{detector.model.folder / golden.picture}: {error}") from error
    return find_difference(
        golden.expected,
        [(item.label, item.score, item.box) for item in found],
        px=golden.tolerance.px,
        score=golden.tolerance.score,
    )
