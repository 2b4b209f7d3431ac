"""Quantise a model to int8, and measure accuracy and speed of every precision on this machine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from elastic_yolo.detector.accuracy import LOWEST_SCORE, mean_average_precision
from elastic_yolo.detector.agreement import compare_boxes
from elastic_yolo.detector.artefacts import Artefact, ModelCache
from elastic_yolo.detector.boxes import CLASS, SCORE, Floats, Image
from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.engines import load
from elastic_yolo.detector.engines.choose import (
    EngineOptions,
    build_engine,
    choose,
    offered_precisions,
)
from elastic_yolo.detector.errors import EngineError, SampleError
from elastic_yolo.detector.golden import golden_difference
from elastic_yolo.detector.machine import describe_cpu
from elastic_yolo.detector.model import Model
from elastic_yolo.detector.precision import REPORT, PrecisionMeasurement, Report, write_report
from elastic_yolo.detector.samples import Samples
from elastic_yolo.detector.speed import measure_ms
from elastic_yolo.detector.uncertainty import loss_interval

CALIBRATION_PICTURES = 100
# Fewer pictures do not show the largest values of each tensor.
_MARGIN_OF_FEW = 1.25

Progress = Callable[[str, int, int], object]
"""Receives the name of the current step, the number of items done, and their total."""


@dataclass(frozen=True)
class _CalibrationPictures:
    """Samples, evenly spread and at most CALIBRATION_PICTURES; fewer are mirrored as well."""

    samples: Samples

    @property
    def are_few(self) -> bool:
        return len(self.samples) < CALIBRATION_PICTURES

    def __len__(self) -> int:
        return 2 * len(self.samples) if self.are_few else CALIBRATION_PICTURES

    def __iter__(self) -> Iterator[Image]:
        for image in self.samples.sample_evenly(CALIBRATION_PICTURES):
            yield image
            if self.are_few:
                yield image[:, ::-1]


def make_int8(model: Model, samples: Samples, cache: Path, progress: Progress) -> Artefact:
    """Quantise a model into the cache that engines read; raises OSError or EngineError."""
    # Measuring needs no quantiser, and the quantiser needs OpenVINO.
    from elastic_yolo.detector.quantise import quantise  # noqa: PLC0415

    model_cache = ModelCache(cache, model.cache_key)
    # Fails now, not after minutes of calibration, if the cache is not writable.
    model_cache.create_folder()
    graph = load.make_graph(model)
    pictures = _CalibrationPictures(samples)
    margin = _MARGIN_OF_FEW if pictures.are_few else 1.0
    quantised = quantise(graph, model.network, pictures, progress, margin)
    # These describe the previous int8 version.
    for names in (REPORT, "openvino-compiled-*"):
        model_cache.delete(names)
    facts = {"pictures": min(len(samples), CALIBRATION_PICTURES)}
    content = quantised.SerializeToString()
    return model_cache.publish(load.INT8, load.INT8_RECIPE, {"model.onnx": content}, facts)


def measure_precisions(
    model: Model,
    samples: Samples,
    options: EngineOptions,
    progress: Progress,
    only: Collection[str] | None = None,
) -> Report:
    """Run all pictures in every precision of the chosen engine; returns and caches the report.

    `only` restricts the precisions; it must contain fp32, which the others are compared with.
    Raises SampleError if the pictures contain no object, EngineError if an engine fails, and
    OSError if the cache is not writable.
    """
    cache = options.cache_folder
    if cache is None:
        raise EngineError("measuring precisions needs a cache folder for the report")
    choice = choose(options)
    detectors, found, golden = {}, {}, {}
    for precision in offered_precisions(choice.engine, choice.device):
        if only is not None and precision not in only:
            continue
        wanted = replace(options, engine=choice.engine, device=choice.device, precision=precision)
        detector = Detector(model, build_engine(model, wanted)[0])
        detectors[precision] = detector
        found[precision] = detect_all(detector, samples, progress)
        golden[precision] = None if model.golden is None else golden_difference(detector) is None
    truth = samples.truth or pseudo_labels(found["fp32"], model.threshold)
    objects = sum(map(len, truth))
    if not objects:
        raise SampleError("the pictures contain no objects: accuracy cannot be measured")
    best = mean_average_precision(found["fp32"], truth)
    rows = []
    ms = measure_ms({name: detector.engine for name, detector in detectors.items()}, samples)
    for precision, detections in found.items():
        score = mean_average_precision(detections, truth)
        low, high = loss_interval(found["fp32"], detections, truth)
        agreement = compare_boxes(found["fp32"], detections, model.threshold)
        row = PrecisionMeasurement(
            choice.engine,
            choice.device,
            precision,
            map=round(score, 5),
            loss=round(best - score, 5),
            ms=round(ms[precision], 3),
            golden=golden[precision],
            interval=(round(low, 5), round(high, 5)),
            boxes=agreement.boxes,
            moved=agreement.moved,
            worst=round(agreement.worst, 5),
        )
        rows.append(row)
    labelled = samples.truth is not None
    report = Report(len(samples), objects, labelled, describe_cpu(), tuple(rows))
    write_report(ModelCache(cache, model.cache_key), report, load.INT8_RECIPE)
    return report


def detect_all(
    detector: Detector, samples: Samples, progress: Progress = lambda *_: None
) -> list[Floats]:
    """Run a detector on every picture; returns all detections from a score of LOWEST_SCORE on.

    One (k, 6) float32 array for each picture.
    """
    found: list[Floats] = []
    what = f"measuring {detector.engine.precision}"
    for done, image in enumerate(samples):
        progress(what, done, len(samples))
        outputs = detector.execute(image[np.newaxis])
        found += detector.postprocess(outputs, LOWEST_SCORE, detector.model.iou)
    progress(what, len(samples), len(samples))
    return found


def pseudo_labels(found: list[Floats], threshold: float) -> list[Floats]:
    """Return detections above `threshold` as ground truth: (k, 5), x1 y1 x2 y2 class."""
    confident = [boxes[boxes[:, SCORE] > threshold] for boxes in found]
    return [np.column_stack([boxes[:, :4], boxes[:, CLASS]]) for boxes in confident]
