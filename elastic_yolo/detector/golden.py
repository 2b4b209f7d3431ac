"""The golden picture: a picture with known detections that model.yaml may name."""

from __future__ import annotations

from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.errors import ModelError
from elastic_yolo.detector.files import read_small
from elastic_yolo.detector.manifest import GoldenSpec
from elastic_yolo.detector.model import Model
from elastic_yolo.picture.agreement import first_difference
from elastic_yolo.picture.errors import PictureError

# The same limit as in model.py, which checks the folder.
_MOST_BYTES = 2**24


def read_golden(model: Model, golden: GoldenSpec) -> bytes:
    """Return the content of a model's golden picture; raises ModelError."""
    return read_small(model.folder / golden.picture, _MOST_BYTES)


def golden_difference(detector: Detector) -> str | None:
    """Run the golden picture; returns the first difference from the expected detections in words.

    Returns None if they agree or the model has no golden picture. Raises ModelError if the picture
    cannot be read or decoded.
    """
    golden = detector.model.golden
    if golden is None:
        return None
    try:
        found = detector.detect(read_golden(detector.model, golden))
    except PictureError as error:
        raise ModelError(f"{detector.model.folder / golden.picture}: {error}") from error
    return first_difference(
        golden.expected,
        [(item.label, item.score, item.box) for item in found],
        px=golden.tolerance.px,
        score=golden.tolerance.score,
    )
