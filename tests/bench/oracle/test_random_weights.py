"""Random weights that a network computes something with, and the same ones every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.oracle.networks import write_cfg
from bench.oracle.random_weights import write_random_weights
from elastic_yolo.detector.darknet.cfg import read_cfg
from elastic_yolo.detector.darknet.plan import plan_network
from elastic_yolo.detector.darknet.weights import read_weights
from elastic_yolo.detector.engines.openvino import OpenVinoEngine
from elastic_yolo.detector.graph import build_graph


def test_the_same_seed_writes_the_same_file(tmp_path: Path) -> None:
    cfg = write_cfg("yolov4-tiny", tmp_path)
    for seed, name in ((3, "a"), (3, "b"), (4, "c")):
        write_random_weights(cfg, tmp_path / name, seed)

    first, second, other = ((tmp_path / name).read_bytes() for name in "abc")
    assert first == second
    assert first != other
    assert len(first) == 24_251_276  # as the published ones


@pytest.mark.parametrize("name", ["yolov4-tiny", "yolov7-tiny"])
def test_heads_differ_from_place_to_place_and_stay_of_order_one(tmp_path: Path, name: str) -> None:
    cfg, weights = write_cfg(name, tmp_path), tmp_path / "x.weights"
    write_random_weights(cfg, weights, 1)
    network = plan_network(read_cfg(cfg))
    engine = OpenVinoEngine(build_graph(network, read_weights(weights, network)), threads=1)
    ramp = np.linspace(0, 255, 416).astype(np.uint8)
    image = np.stack([np.add.outer(ramp // 2, ramp // 2)] * 3, axis=2)

    for head in engine.execute(image[np.newaxis]):
        assert np.abs(head).max() < 10
        assert head.std(axis=(2, 3)).mean() > 0.05
