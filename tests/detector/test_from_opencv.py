"""The functions of docs/from-opencv.md return what those that they replace return."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import cv2
import pytest

from elastic_yolo.detector import Detector
from elastic_yolo.detector.model import read_model
from elastic_yolo.lab.processes.stack import DEMO_MODEL, ROOT
from tests.support.examples import codes_of, functions_of
from tests.support.real_models import real_model

SCENES = [ROOT / "client" / "images" / f"scene-0{number}.jpg" for number in (1, 2, 3)]
DETECTION_MODEL, DARKNET_PY = codes_of("from-opencv.md")


def function_of(code: str, name: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.chdir(ROOT)
    found = functions_of(code)[name]
    assert callable(found)
    return found


@pytest.fixture
def opencv() -> Any:
    """DetectionModel as its users set it up."""
    model = read_model(DEMO_MODEL)
    net = cv2.dnn.readNetFromDarknet(os.fspath(model.cfg), os.fspath(model.weights_file))
    found = cv2.dnn.DetectionModel(net)
    size = (model.network.input.width, model.network.input.height)
    found.setInputParams(size=size, scale=1 / 255, swapRB=True, crop=False)
    return found


def test_the_function_returns_what_detection_model_returns(
    opencv: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Classes and scores in any order. Of the boxes, those inside of the picture.

    OpenCV truncates centre and size to whole pixels, so that a corner differs by up to two.
    """
    detect = function_of(DETECTION_MODEL, "detect", monkeypatch)
    compared = 0
    for path in SCENES:
        frame = cv2.imread(str(path))
        ours = sorted(zip(*detect(frame, 0.5, 0.45), strict=True))
        theirs = sorted(
            (int(number), float(score), tuple(map(int, box)))
            for number, score, box in zip(*opencv.detect(frame, 0.5, 0.45), strict=True)
        )

        assert [number for number, *_ in ours] == [number for number, *_ in theirs]
        for (_, our_score, our_box), (_, their_score, their_box) in zip(ours, theirs, strict=True):
            assert our_score == pytest.approx(their_score, abs=0.01)
            left, top, width, height = our_box
            inside = min(left, top) > 0 and left + width < frame.shape[1]
            if inside and top + height < frame.shape[0]:
                assert our_box == pytest.approx(their_box, abs=2)
                compared += 1
    assert compared > 10


def test_the_function_returns_the_form_of_detect_image(monkeypatch: pytest.MonkeyPatch) -> None:
    detect_image = function_of(DARKNET_PY, "detect_image", monkeypatch)
    frame = cv2.imread(str(SCENES[0]))
    expected = Detector.load(DEMO_MODEL, resize="stretch").detect(bgr=frame)

    found = detect_image(frame)

    assert len(found) > 3
    percents = [float(text) for _, text, _ in found]
    assert percents == sorted(percents)
    assert found[-1] == (expected[0].label, f"{100 * expected[0].score:.2f}", expected[0].box)


@pytest.mark.parametrize("rule", ["stretch", "letterbox"])
def test_the_scores_in_the_table_are_those_of_the_trained_model(rule: Any) -> None:
    """Label and score of each cell, in its order."""
    detector = Detector.load(real_model("yolov3-tiny"), resize=rule)
    text = (ROOT / "docs" / "from-opencv.md").read_text()
    for name in ("dog.jpg", "person.jpg"):
        (row,) = [line for line in text.splitlines() if line.startswith(f"| {name} |")]
        cell = row.split("|")[2 if rule == "stretch" else 3].replace("*", "")

        found = detector.detect(ROOT / "client" / "photos" / name, 0.5, 0.45, exact=True)

        stated = [one.strip().rsplit(" ", 1) for one in cell.split(",")]
        assert [label for label, _ in stated] == [one.label for one in found]
        for (_, score), one in zip(stated, found, strict=True):
            assert float(score) == pytest.approx(one.score, abs=0.006)
