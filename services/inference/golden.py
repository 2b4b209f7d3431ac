"""The golden picture of a loaded version: a picture with its expected detections."""

from __future__ import annotations

import base64

import cv2
import numpy as np

from elastic_yolo.detector.boxes import Detection
from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.golden import golden_difference, read_golden
from elastic_yolo.detector.manifest import Tolerance
from services.common.core.golden import Found, Golden


def prepare_golden(detector: Detector) -> tuple[Golden, str | None]:
    """Run the golden picture; return it with its expected detections and the first difference.

    For a model without a golden picture, a synthetic one is used with the detections of this run as
    the expected ones: that says nothing about accuracy, but /health/status notices when a running
    service begins to return something else. Raises ModelError if the picture that model.yaml names
    cannot be read or decoded.
    """
    spec = detector.model.golden
    if spec is None:
        data, tolerance = _synthetic_picture(detector.network_size), Tolerance()
        difference, expected = None, to_golden_form(detector.detect(data))
    else:
        difference = golden_difference(detector)
        data = read_golden(detector.model, spec)
        tolerance = spec.tolerance
        expected = [(label, score, list(box)) for label, score, box in spec.expected]
    golden = Golden(
        model=detector.model.name,
        version=detector.model.version,
        picture=base64.b64encode(data).decode(),
        expected=expected,
        tolerance_px=tolerance.px,
        tolerance_score=tolerance.score,
    )
    return golden, difference


def to_golden_form(detections: list[Detection]) -> list[Found]:
    """Return detections as (label, score, box), the form that services exchange."""
    return [(detection.label, detection.score, list(detection.box)) for detection in detections]


def _synthetic_picture(size: tuple[int, int]) -> bytes:
    """Return a PNG of smooth waves in three channels; `size` is (width, height)."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    waves = np.stack([np.sin(x / 17) * np.cos(y / (11 + 7 * channel)) for channel in range(3)], 2)
    _, png = cv2.imencode(".png", (127.5 * (waves + 1)).astype(np.uint8))
    return png.tobytes()
