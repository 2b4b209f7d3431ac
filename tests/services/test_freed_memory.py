"""A network that has been built and one that comes from the cache take the same memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.models import has_darknet, random_model
from elastic_yolo.lab.processes.process_tree import memory
from elastic_yolo.lab.processes.stack import Service, free_port

# Building yolov3-tiny takes 35 MB for the weights in each of several forms: 100 MB on the way.
TOLERANCE_MB = 40


def start_and_weigh(model: Path, cache: Path) -> float:
    """Return the RSS of an inference service after its start, in megabytes."""
    env = {"MODEL_PATH": str(model), "CACHE_DIR": str(cache), "PRECISION": "fp32", "THREADS": "1"}
    with Service("inference", free_port(), env) as service:
        service.wait_ready()
        return memory(service.process.pid).rss_mb


@pytest.mark.long
@pytest.mark.skipif(not has_darknet(), reason="needs Debian's darknet: make oracle")
def test_a_first_start_keeps_no_memory_that_building_the_network_needed(tmp_path: Path) -> None:
    """The second start reads the network that the first one cached."""
    model = random_model("yolov3-tiny", 416, tmp_path)
    first = start_and_weigh(model, tmp_path / "cache")
    second = start_and_weigh(model, tmp_path / "cache")
    assert first < second + TOLERANCE_MB
