"""Comparing finds what agrees, and does not find what does not."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.oracle.compare import compare, pair
from bench.oracle.networks import write_cfg
from bench.oracle.opencv import OpenCvDarknet, Refusal
from bench.oracle.random_weights import write_random_weights
from bench.oracle.table import between_markers
from elastic_yolo.detector.darknet.cfg import read_cfg
from elastic_yolo.detector.darknet.plan import plan_network
from elastic_yolo.detector.engines.libdarknet import DarknetBox, find_libdarknet

BOX = (50.0, 40.0, 20.0, 10.0)


def scene(size: int) -> np.ndarray:
    picture = Path(__file__).parents[3] / "client" / "images" / "scene-01.jpg"
    pixels = cv2.imread(str(picture), cv2.IMREAD_COLOR_RGB)
    assert pixels is not None
    return np.asarray(cv2.resize(pixels, (size, size)), np.uint8)


@pytest.mark.parametrize("name", ["yolov4-tiny", "yolov7-tiny"])
def test_what_needs_the_fork_agrees_with_opencv(tmp_path: Path, name: str) -> None:
    cfg, weights = write_cfg(name, tmp_path), tmp_path / "x.weights"
    write_random_weights(cfg, weights, 1)

    found = compare(cfg, weights, scene(416), threads=1)

    assert found.oracle.startswith("OpenCV 4.")
    assert found.agrees
    assert found.heads < 1e-4
    assert found.boxes > 100
    assert found.pixels < 0.2


@pytest.mark.skipif(find_libdarknet() is None, reason='run "make oracle"')
def test_what_is_older_agrees_with_libdarknet(tmp_path: Path) -> None:
    cfg, weights = write_cfg("yolov2-tiny-voc", tmp_path), tmp_path / "x.weights"
    write_random_weights(cfg, weights, 1)

    found = compare(cfg, weights, scene(416), threads=1)

    assert (found.oracle, found.agrees) == ("libdarknet", True)
    assert found.heads < 1e-4


def test_other_weights_do_not_agree(tmp_path: Path) -> None:
    cfg, weights = write_cfg("yolov4-tiny", tmp_path), tmp_path / "x.weights"
    write_random_weights(cfg, weights, 1)
    write_random_weights(cfg, tmp_path / "y.weights", 2)
    network = plan_network(read_cfg(cfg))

    one, other = (
        OpenCvDarknet(cfg, path, 1).raw_head_inputs(scene(416))
        for path in (weights, tmp_path / "y.weights")
    )

    for head, mine, theirs in zip(network.heads, one, other, strict=True):
        assert mine.shape == (3, head.values, head.output.height, head.output.width)
        assert np.abs(mine - theirs).max() > 1


def test_opencv_says_what_it_does_not_know(tmp_path: Path) -> None:
    cfg = tmp_path / "x.cfg"
    cfg.write_text(
        "[net]\nwidth=32\nheight=32\nchannels=3\n"
        "[convolutional]\nfilters=24\nsize=1\nstride=1\nactivation=linear\n"
        "[reorg3d]\nstride=2\n[yolo]\nclasses=91\nnum=1\nanchors=5,5\n"
    )
    write_random_weights(cfg, tmp_path / "x.weights", 1)

    with pytest.raises(Refusal, match="reorg3d"):
        OpenCvDarknet(cfg, tmp_path / "x.weights", 1)


@pytest.mark.parametrize(
    ("theirs", "pairs", "unpaired"),
    [
        ([(3, 0.9, BOX)], 1, 0),
        ([(3, 0.904, (50.9, 40.0, 20.0, 10.0))], 1, 0),
        ([(4, 0.9, BOX)], 0, 2),
        ([(3, 0.89, BOX)], 0, 2),
        ([(3, 0.9, (50.0, 40.0, 21.1, 10.0))], 0, 2),
        ([], 0, 1),
        ([(3, 0.9, BOX), (3, 0.502, BOX)], 1, 0),
    ],
    ids=["same", "near", "class", "score", "place", "missing", "at the threshold"],
)
def test_boxes_are_paired_within_a_pixel_and_five_thousandths(
    theirs: list[DarknetBox], pairs: int, unpaired: int
) -> None:
    found, alone = pair([(3, 0.9, BOX)], theirs, threshold=0.5)

    assert (len(found), alone) == (pairs, unpaired)


def test_a_table_replaces_what_is_between_its_markers() -> None:
    begin, end = "<!-- model-table:begin -->", "<!-- model-table:end -->"

    assert (
        between_markers(f"a\n{begin}\nold\n{end}\nb\n", "new") == f"a\n{begin}\n\nnew\n\n{end}\nb\n"
    )
    with pytest.raises(ValueError, match="no <!-- model-table:begin -->"):
        between_markers("a", "new")
