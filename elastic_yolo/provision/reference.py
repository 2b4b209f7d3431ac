"""What a model is shown and finds in typical pictures: recorded once, when it is published."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.engines.choose import EngineOptions
from elastic_yolo.detector.loading import load_detector
from elastic_yolo.detector.profile import Profile
from elastic_yolo.detector.samples import SampleFolder
from elastic_yolo.provision.check import refusing
from elastic_yolo.provision.progress import ProgressReporter


def record_reference(
    folder: Path, pictures: Path, options: EngineOptions, tell: ProgressReporter
) -> bytes:
    """Return reference.json for the model in `folder`; raises WrongContent."""
    with refusing(folder):
        detector, _ = load_detector(folder, options)
        samples = SampleFolder(pictures, detector.model.network, tell.left_out)
        return _profile(detector, samples, tell).to_json()


def _profile(detector: Detector, samples: SampleFolder, tell: ProgressReporter) -> Profile:
    model = detector.model
    profile = Profile(len(model.labels))
    for done, image in enumerate(samples):
        tell.progress("recording the reference", done, len(samples))
        images = image[np.newaxis]
        profile.add(
            images, detector.postprocess(detector.execute(images), model.threshold, model.iou)
        )
    tell.progress("recording the reference", len(samples), len(samples))
    return profile
