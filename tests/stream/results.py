"""Messages and results as the runner makes them, without a model."""

from __future__ import annotations

from elastic_yolo.detector.boxes import Detection
from elastic_yolo.stream.message import Message, Result, result_id

MODEL = {"name": "tiny", "version": "1", "digest": "sha256:" + 64 * "0"}


def result_of(message: Message) -> Result:
    """Return a result with one detection."""
    found = Detection("bird", 0.5, (10.0, 20.0, 4.0, 6.0))
    return Result(result_id(message, MODEL["digest"]), message, (found,), (64, 48), MODEL)


def a_result(name: str) -> Result:
    """Return the result for a message with this id."""
    return result_of(Message("camera", name, b"picture", 1.0))
