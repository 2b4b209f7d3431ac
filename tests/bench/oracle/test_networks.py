"""The networks that are written here are those that were published."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.oracle.networks import DEBIAN, NETWORKS, write_cfg
from elastic_yolo.detector.darknet.cfg import read_cfg
from elastic_yolo.detector.darknet.fork import needs_fork
from elastic_yolo.detector.darknet.plan import plan_network

# Layers and floats of the .cfg files in AlexeyAB's repository, and so of the .weights published
# there: four bytes for each float behind a header of 20. All layers of what is written here were
# equal to those of the files, one by one, when it was written.
PUBLISHED = {
    "yolov4": (162, 64_429_405, 608),
    "yolov4-tiny": (38, 6_062_814, 416),
    "yolov4-tiny-3l": (45, 6_334_045, 608),
    "yolov4-csp": (175, 52_986_205, 512),
    "yolov4-csp-swish": (176, 52_986_205, 640),
    "yolov4x-mish": (203, 99_847_037, 640),
    "yolov4-csp-x-mish": (204, 99_847_037, 640),
    "yolov4-csp-x-swish": (204, 99_847_037, 640),
    "yolov4-p5": (244, 70_917_468, 896),
    "yolov4-p6": (305, 127_717_040, 1280),
    "yolov7-tiny": (99, 6_241_885, 416),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_network_has_the_layers_and_floats_of_the_published_one(
    tmp_path: Path, name: str
) -> None:
    network = plan_network(read_cfg(write_cfg(name, tmp_path)))

    assert (len(network.layers), network.float_count) == PUBLISHED[name][:2]
    assert (network.input.width, network.input.height) == (PUBLISHED[name][2],) * 2
    assert network.classes == 80


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in PUBLISHED])
def test_debians_networks_are_older_than_the_fork(tmp_path: Path, name: str) -> None:
    if not DEBIAN.is_dir():
        pytest.skip('run "make oracle": Debian\'s package darknet is missing')

    assert not needs_fork(plan_network(read_cfg(write_cfg(name, tmp_path))))


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_came_later_needs_the_fork(tmp_path: Path, name: str) -> None:
    assert needs_fork(plan_network(read_cfg(write_cfg(name, tmp_path))))
