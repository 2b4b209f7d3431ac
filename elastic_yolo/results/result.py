"""The result for one picture."""

from __future__ import annotations

from dataclasses import dataclass

from elastic_yolo.detection import Detection


@dataclass(frozen=True)
class Result:
    """The detections in a picture; `size` is (width, height) of the upright picture in pixels.

    `model` has name, version and digest, and `uid` is the id of the request, if a service answered.
    """

    picture: str
    detections: tuple[Detection, ...]
    size: tuple[int, int]
    model: dict[str, str] | None = None
    uid: str | None = None


class NotResults(ValueError):
    """A file has something else than the results that are expected there."""
