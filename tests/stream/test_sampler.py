"""What the log says about the progress of a stream."""

from __future__ import annotations

import logging
from threading import Event

import pytest

from elastic_yolo.stream.metrics import StreamMetrics
from elastic_yolo.stream.sampler import Sampler
from tests.stream.memory_ends import MemorySource, messages

STOPPED = Event()
STOPPED.set()


def test_the_first_answers_are_in_the_log_at_once_and_the_next_ones_every_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    counts = [0, 0]
    source = MemorySource(messages([b""] * 7), [])
    metrics = StreamMetrics()
    sampler = Sampler([source], metrics, lambda: (counts[0], counts[1]))

    sampler.run(STOPPED)
    assert caplog.messages == []
    counts[:] = [1200, 3]
    sampler.run(STOPPED)
    counts[:] = [1300, 3]
    sampler.run(STOPPED)

    (line,) = caplog.messages
    assert line.startswith("1,200 pictures answered, 3 rejected, ")
    assert line.endswith("/s; lag 7")
    lag = metrics.registry.get_sample_value("elastic_yolo_stream_lag", {"source": "memory"})
    assert lag == 7
