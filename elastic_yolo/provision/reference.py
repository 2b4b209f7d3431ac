"""Record the reference profile for drift when a model is published: its inputs and detections."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.engines.choose import EngineOptions
from elastic_yolo.detector.loading import load_detector
from elastic_yolo.detector.profile import Profile
from elastic_yolo.detector.samples import SampleFolder
from elastic_yolo.provision.check import as_wrong_content
from elastic_yolo.provision.progress import ProgressReporter


def record_reference(
    folder: Path, pictures: Path, options: EngineOptions, reporter: ProgressReporter
) -> bytes:
    """Return the content of reference.json for the model in `folder`; raises WrongContent."""
    with as_wrong_content(folder):
        detector, _ = load_detector(folder, options)
        samples = SampleFolder(pictures, detector.model, reporter.skipped)
        return _profile(detector, samples, reporter).to_json()


def _profile(detector: Detector, samples: SampleFolder, reporter: ProgressReporter) -> Profile:
    model = detector.model
    profile = Profile(len(model.labels))
    for done, image in enumerate(samples):
        reporter.progress("recording the reference", done, len(samples))
        images = image[np.newaxis]
        profile.add(
            images, detector.postprocess(detector.execute(images), model.threshold, model.iou)
        )
    reporter.progress("recording the reference", len(samples), len(samples))
    return profile
