"""A grey network behind the services: they send it pictures in colour, and its metadata say so."""

from __future__ import annotations

from pathlib import Path

import httpx
import numpy as np

from elastic_yolo.detector.detector import Detector
from elastic_yolo.lab.processes.stack import Stack
from tests.support.pictures import encode
from tests.support.tiny import CELL, write_tiny_model, write_weights


def test_a_grey_network_is_served_like_any_other(tmp_path: Path) -> None:
    """Of every cell, its one pixel's grey value decides the score of its square."""
    folder = write_tiny_model(tmp_path / "grey")
    cfg = (folder / "tiny.cfg").read_text().replace("channels=3", "channels=1")
    (folder / "tiny.cfg").write_text(f"{cfg}note=grey\n")
    filters = [0, 0, 0, 0, 4, 0, 0]
    write_weights(folder / "tiny.weights", np.array([0, 0, 0, 0, -2, 3, -3, *filters]))
    colours = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
    weights = {"red": 0.299, "green": 0.587, "blue": 0.114}

    with Stack(model=folder, logs=tmp_path) as stack:
        shape = httpx.get(f"{stack.inference.url}/v2/models/tiny").json()["inputs"][0]["shape"]
        status = httpx.get(f"{stack.web.url}/health/status", timeout=30)
        scores = {}
        for name, colour in colours.items():
            picture = encode(np.full((CELL, CELL, 3), colour, np.uint8))
            answer = httpx.post(
                f"{stack.web.url}/inference", files={"image": picture}, params={"threshold": "0"}
            )
            scores[name] = answer.json()["data"][0][1]
            assert Detector.load(folder).detect(picture, 0)[0].score == scores[name]

    assert shape == [-1, CELL, CELL, 3]
    assert status.status_code == 200
    for name, weight in weights.items():
        objectness = 1 / (1 + np.exp(2 - 4 * weight))
        assert abs(scores[name] - objectness / (1 + np.exp(-3))) < 1e-5
    log = (tmp_path / "inference.log").read_text()
    assert log.count("note=grey has no effect: Darknet has no such option here") == 1
