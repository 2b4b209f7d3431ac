"""A model changed under load: the two versions, and what is made of the answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.pipeline.swaps import publish_twice, summarise
from elastic_yolo.detector.model import read_model
from elastic_yolo.lab.load.client import Sample
from elastic_yolo.store.layout import Layout
from elastic_yolo.store.reader import current_version_id
from elastic_yolo.store.reference import Reference
from elastic_yolo.store.writer import Writer
from tests.support.tiny import write_tiny_model


def test_both_versions_answer_the_same_under_another_digest(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "store")

    ids = publish_twice(
        Writer(layout), write_tiny_model(tmp_path / "model"), tmp_path / "second", "fp32"
    )

    first, second = (read_model(layout.version("changing", identity)) for identity in ids)
    assert first.digest != second.digest
    assert first.weights_file.read_bytes() == second.weights_file.read_bytes()
    assert current_version_id(Reference(layout.root, "changing", "stable")) == ids[0]


def test_requests_before_the_first_switch_are_told_apart_from_those_during() -> None:
    samples = [Sample(second, 10.0 * (second + 1), 200, True, None) for second in range(4)]
    samples.append(Sample(3.5, 999.0, 503, False, None))

    seen = summarise(samples, per_s=1.0, calm_s=2.0, waits=[0.3, 0.1, 0.2], rss=[1, 2, 3, 4])

    assert (seen.calm_p50_ms, seen.p50_ms, seen.longest_ms) == pytest.approx((15, 35, 40))
    assert (seen.swaps, seen.there_after_s, seen.rss_mb) == (3, 0.2, [1, 3, 4])
    assert (seen.answers, seen.failed) == (5, 1)
