"""Head decoding, compared with a scalar implementation of Darknet's formulas."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic_yolo.detector.darknet.cfg import parse_cfg
from elastic_yolo.detector.darknet.layers import Network
from elastic_yolo.detector.darknet.plan import plan_network
from elastic_yolo.detector.heads import decode_heads

CFG = """[net]
width=96
height=64
channels=3
[convolutional]
filters=14
stride=32
activation=linear
[yolo]
classes=2
num=2
anchors=10,20, 30,5
"""


@pytest.fixture(scope="module")
def network() -> Network:
    return plan_network(parse_cfg(CFG, Path("x.cfg")))


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def decode_one_by_one(
    output: np.ndarray, threshold: float
) -> list[tuple[list[float], list[float]]]:
    """Return (x1 y1 x2 y2, class scores) in Darknet's order: anchor, row, column."""
    anchors = [(10, 20), (30, 5)]
    found = []
    for a, row, column in np.ndindex(2, 2, 3):
        x, y, w, h, objectness, *classes = (
            float(v) for v in output[7 * a : 7 * a + 7, row, column]
        )
        if not sigmoid(objectness) > threshold:
            continue
        cx = (sigmoid(x) + column) / 3 * 96
        cy = (sigmoid(y) + row) / 2 * 64
        width, height = math.exp(w) * anchors[a][0], math.exp(h) * anchors[a][1]
        scores = [sigmoid(objectness) * sigmoid(c) for c in classes]
        box = [cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2]
        found.append((box, [score if score > threshold else 0 for score in scores]))
    return found


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.05, 0.3, 0.5, 0.9]))
def test_boxes_and_scores_follow_the_formulas(seed: int, threshold: float) -> None:
    network = plan_network(parse_cfg(CFG, Path("x.cfg")))
    output = np.random.default_rng(seed).normal(0, 2, (14, 2, 3)).astype(np.float32)

    candidates = decode_heads(network, [output], threshold)

    expected = decode_one_by_one(output, threshold)
    assert len(candidates.boxes) == len(expected)
    for i, (box, scores) in enumerate(expected):
        assert candidates.boxes[i] == pytest.approx(box, rel=1e-4, abs=1e-3)
        assert candidates.scores[i] == pytest.approx(scores, abs=1e-5)


@given(st.integers(0, 2**32 - 1))
def test_new_coords_and_scale_follow_their_formulas(seed: int) -> None:
    """AlexeyAB's get_yolo_box with new_coords: the layer before has applied the sigmoid."""
    text = CFG + "new_coords=1\nscale_x_y=2.0\n"
    network = plan_network(parse_cfg(text, Path("x.cfg")))
    output = np.random.default_rng(seed).uniform(0, 1, (14, 2, 3)).astype(np.float32)

    candidates = decode_heads(network, [output], 0.3)

    anchors = [(10, 20), (30, 5)]
    expected = []
    for a, row, column in np.ndindex(2, 2, 3):
        x, y, w, h, objectness, *classes = output[7 * a : 7 * a + 7, row, column].tolist()
        if objectness > 0.3:
            cx, cy = (x * 2 - 0.5 + column) / 3 * 96, (y * 2 - 0.5 + row) / 2 * 64
            half_w, half_h = w * w * 4 * anchors[a][0] / 2, h * h * 4 * anchors[a][1] / 2
            scores = [objectness * c if objectness * c > 0.3 else 0 for c in classes]
            expected.append(([cx - half_w, cy - half_h, cx + half_w, cy + half_h], scores))
    assert len(candidates.boxes) == len(expected)
    for i, (box, scores) in enumerate(expected):
        assert candidates.boxes[i] == pytest.approx(box, rel=1e-4, abs=1e-3)
        assert candidates.scores[i] == pytest.approx(scores, abs=1e-5)


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([("center", 0.0), ("left_top", 0.5), ("right_bottom", -0.5)]),
)
def test_uncertain_coordinates_lower_a_gaussian_score(seed: int, point: tuple[str, float]) -> None:
    """get_gaussian_yolo_box and get_gaussian_yolo_detections of AlexeyAB's fork."""
    name, beyond = point
    text = CFG.replace("filters=14", "filters=22").replace("[yolo]", "[Gaussian_yolo]")
    text += f"scale_x_y=1.1\nyolo_point={name}\n"
    network = plan_network(parse_cfg(text, Path("x.cfg")))
    output = np.random.default_rng(seed).normal(0, 1.5, (22, 2, 3)).astype(np.float32)

    candidates = decode_heads(network, [output], 0.3)

    anchors = [(10, 20), (30, 5)]
    expected = []
    for a, row, column in np.ndindex(2, 2, 3):
        x, dx, y, dy, w, dw, h, dh, objectness, *classes = (
            float(v) for v in output[11 * a : 11 * a + 11, row, column]
        )
        if sigmoid(objectness) > 0.3:
            width, height = math.exp(w) * anchors[a][0], math.exp(h) * anchors[a][1]
            cx = (sigmoid(x) * 1.1 - 0.05 + column) / 3 * 96 + beyond * width
            cy = (sigmoid(y) * 1.1 - 0.05 + row) / 2 * 64 + beyond * height
            sure = 1 - (sigmoid(dx) + sigmoid(dy) + sigmoid(dw) + sigmoid(dh)) / 4
            scores = [sigmoid(objectness) * sigmoid(c) * sure for c in classes]
            box = [cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2]
            expected.append((box, [score if score > 0.3 else 0 for score in scores]))
    assert len(candidates.boxes) == len(expected)
    for i, (box, scores) in enumerate(expected):
        assert candidates.boxes[i] == pytest.approx(box, rel=1e-4, abs=1e-3)
        assert candidates.scores[i] == pytest.approx(scores, abs=1e-5)


def test_classes_of_a_region_without_softmax_do_not_compete() -> None:
    text = CFG.replace("[yolo]", "[region]")
    network = plan_network(parse_cfg(text, Path("x.cfg")))
    output = np.full((14, 2, 3), 2, np.float32)

    candidates = decode_heads(network, [output], 0.1)

    assert candidates.scores == pytest.approx(sigmoid(2) ** 2, abs=1e-5)


def test_classes_of_a_region_compete() -> None:
    """Softmax of equal values divides the objectness evenly."""
    text = CFG.replace("[yolo]", "[region]") + "softmax=1\n"
    network = plan_network(parse_cfg(text, Path("x.cfg")))
    output = np.full((14, 2, 3), 6, np.float32)

    candidates = decode_heads(network, [output], 0.1)

    assert candidates.scores == pytest.approx(sigmoid(6) / 2, abs=1e-5)


def test_an_absurd_size_is_dropped(network: Network) -> None:
    output = np.full((14, 2, 3), 5, np.float32)
    output[2, 0, 0] = 500

    candidates = decode_heads(network, [output], 0.5)

    assert len(candidates.boxes) == 11
    assert np.isfinite(candidates.boxes).all()


@pytest.mark.parametrize(("threshold", "count"), [(0.0, 12), (1.0, 0)])
def test_extreme_thresholds_keep_everything_or_nothing(
    network: Network, threshold: float, count: int
) -> None:
    output = np.zeros((14, 2, 3), np.float32)

    assert len(decode_heads(network, [output], threshold).boxes) == count
