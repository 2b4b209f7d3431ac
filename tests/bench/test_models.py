"""The models and pictures of make bench."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.models import PICTURES, has_darknet, labelled_pictures, random_model
from elastic_yolo.detector.model import read_model
from elastic_yolo.detector.samples import SampleFolder
from elastic_yolo.lab.processes.stack import DEMO_MODEL


def test_the_clients_pictures_get_labels_from_their_truth(tmp_path: Path) -> None:
    model = read_model(DEMO_MODEL)
    truth = json.loads((PICTURES / "truth.json").read_text())

    folder = labelled_pictures(model.labels, tmp_path)

    found = SampleFolder(folder, model, lambda _path, _error: None).truth
    assert found is not None
    counts = [len(boxes) for boxes in found]
    assert counts == [len(truth[name]["objects"]) for name in sorted(truth)]
    # 300x200, so 1.386 network pixels to one of the picture, and 69 rows of grey above it.
    name = "scene-10.bmp"
    _, (x, y, width, height) = truth[name]["objects"][0]
    left, top, right, bottom = found[sorted(truth).index(name)][0, :4]
    assert (left + right) / 2 == pytest.approx(x * 416 / 300, abs=0.1)
    assert (top + bottom) / 2 == pytest.approx(y * 277 / 200 + 69.5, abs=0.1)
    assert right - left == pytest.approx(width * 416 / 300, abs=0.1)
    assert bottom - top == pytest.approx(height * 277 / 200, abs=0.1)


@pytest.mark.skipif(not has_darknet(), reason='run "make oracle": yolov3-tiny.cfg is missing')
def test_a_random_model_is_a_debian_network_at_another_size(tmp_path: Path) -> None:
    folder = random_model("yolov3-tiny", 96, tmp_path)
    written = (folder / "yolov3-tiny.weights").stat().st_mtime_ns

    model = read_model(folder)

    assert (model.network.input.width, model.network.input.height) == (96, 96)
    assert (model.network.float_count, len(model.labels)) == (8_858_734, 80)
    assert random_model("yolov3-tiny", 96, tmp_path) == folder
    assert (folder / "yolov3-tiny.weights").stat().st_mtime_ns == written
