"""Make the int8 version of a model, and measure what every precision costs and gains here."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from elastic_yolo.detector.accuracy import LOWEST_SCORE, mean_average_precision
from elastic_yolo.detector.artefacts import Artefact, Shelf
from elastic_yolo.detector.boxes import CLASS, SCORE, Floats
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
from elastic_yolo.detector.precision import REPORT, Measured, Report, write_report
from elastic_yolo.detector.quantise import quantise
from elastic_yolo.detector.samples import SampleFolder

CALIBRATION_PICTURES = 100

Progress = Callable[[str, int, int], object]
"""Told what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class Answers:
    """What one precision found in every picture, (k, 6) each, and its milliseconds a picture."""

    found: list[Floats]
    ms: float


def make_int8(model: Model, samples: SampleFolder, cache: Path, progress: Progress) -> Artefact:
    """Quantise a model and put the result where engines find it; raises OSError, EngineError."""
    shelf = Shelf(cache, model.digest)
    # What is wrong with the cache is better said now than after the calibration.
    shelf.prepare()
    graph = load.make_graph(model)
    total = min(CALIBRATION_PICTURES, len(samples))
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        progress("calibrating", done, total)

    progress("calibrating", 0, total)
    small = quantise(graph, model.network, samples.some(CALIBRATION_PICTURES), step)
    # They are about the older version.
    for names in (REPORT, "openvino-compiled-*"):
        shelf.remove(names)
    facts = {"pictures": total}
    content = small.SerializeToString()
    return shelf.publish(load.INT8, load.INT8_RECIPE, {"model.onnx": content}, facts)


def measure_precisions(
    model: Model, samples: SampleFolder, options: EngineOptions, progress: Progress
) -> Report:
    """Run every precision that the chosen engine offers here on all pictures; keep the report.

    Raises SampleError if there is nothing in the pictures to measure with, EngineError, or OSError
    if the cache cannot be written.
    """
    if options.cache is None:
        raise EngineError("what is measured is kept in a cache folder")
    choice = choose(options)
    answers, golden = {}, {}
    for precision in offered_precisions(choice.engine, choice.device):
        wanted = replace(options, engine=choice.engine, device=choice.device, precision=precision)
        detector = Detector(model, build_engine(model, wanted)[0])
        answers[precision] = find_everything(detector, samples, progress)
        golden[precision] = None if model.golden is None else golden_difference(detector) is None
    truth = samples.truth or take_for_truth(answers["fp32"].found, model.threshold)
    objects = sum(map(len, truth))
    if not objects:
        raise SampleError("no objects in any of the pictures: nothing to measure with")
    best = mean_average_precision(answers["fp32"].found, truth)
    rows = []
    for precision, answer in answers.items():
        score = mean_average_precision(answer.found, truth)
        numbers = round(score, 5), round(best - score, 5), round(answer.ms, 3)
        row = Measured(choice.engine, choice.device, precision, *numbers, golden[precision])
        rows.append(row)
    labelled = samples.truth is not None
    report = Report(len(samples), objects, labelled, describe_cpu(), tuple(rows))
    write_report(Shelf(options.cache, model.digest), report, load.INT8_RECIPE)
    return report


def find_everything(
    detector: Detector, samples: SampleFolder, progress: Progress = lambda *_: None
) -> Answers:
    """Run a detector on every picture, and keep also what it is not sure of."""
    found: list[Floats] = []
    ms = []
    what = f"measuring {detector.engine.precision}"
    for done, image in enumerate(samples):
        progress(what, done, len(samples))
        started = time.perf_counter()
        outputs = detector.execute(image[np.newaxis])
        ms.append((time.perf_counter() - started) * 1000)
        found += detector.postprocess(outputs, LOWEST_SCORE, detector.model.iou)
    progress(what, len(samples), len(samples))
    return Answers(found, statistics.median(ms))


def take_for_truth(found: list[Floats], threshold: float) -> list[Floats]:
    """Take for the truth what a detector would answer: (k, 5), x1 y1 x2 y2 class."""
    sure = [boxes[boxes[:, SCORE] > threshold] for boxes in found]
    return [np.column_stack([boxes[:, :4], boxes[:, CLASS]]) for boxes in sure]
