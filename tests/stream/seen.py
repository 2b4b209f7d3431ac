"""Results with given labels, as the runner makes them, without a model."""

from __future__ import annotations

from elastic_yolo.detector.boxes import Detection
from elastic_yolo.stream.message import Message, Result, result_id

MODEL = {"name": "tiny", "version": "1", "digest": "sha256:" + 64 * "0"}


def seen(at: float, labels: str = "", *, source: str = "yard", camera: str = "") -> Result:
    """Return the result for a picture that was taken at a time, with an object for each label."""
    fields = {"camera": camera} if camera else {}
    message = Message(source, f"{camera}{at:.3f}", b"picture", added_at=at, fields=fields)
    found = tuple(Detection(label, 0.5, (10.0, 20.0, 4.0, 6.0)) for label in labels.split())
    return Result(result_id(message, MODEL["digest"]), message, found, (64, 48), MODEL)
