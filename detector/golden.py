"""The picture whose answer is known: what the model's owner states in model.yaml."""

from __future__ import annotations

from detector.detector import Detector
from detector.errors import ModelError
from detector.files import read_small
from picture.agreement import find_difference
from picture.errors import PictureError

# As much as model.py accepts when it looks at the folder.
_MOST_BYTES = 2**24


def golden_difference(detector: Detector) -> str | None:
    """Return the first difference from the expected answer in words, or None if there is none.

    None also without a golden picture. Raises ModelError if it cannot be read or decoded.
    """
    golden = detector.model.golden
    if golden is None:
        return None
    path = detector.model.folder / golden.picture
    try:
        found = detector.detect(read_small(path, _MOST_BYTES))
    except PictureError as error:
        raise ModelError(f"{path}: {error}") from error
    return find_difference(
        golden.expected,
        [(item.label, item.score, item.box) for item in found],
        px=golden.tolerance.px,
        score=golden.tolerance.score,
    )
