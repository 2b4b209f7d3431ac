"""The drift index: how far pictures and detections are from the version's reference."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from elastic_yolo.detector.profile import FILE
from elastic_yolo.lab.processes.stack import Service, free_port
from tests.support.sending import BATCH, send
from tests.support.tiny import reference_of_squares, write_tiny_model

DARK, BRIGHT = 30, 220


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """The tiny model, whose reference is dark pictures; it finds one square in every picture."""
    folder = write_tiny_model(tmp_path / "model")
    (folder / FILE).write_bytes(reference_of_squares(DARK))
    with Service("inference", free_port(), {"MODEL_PATH": str(folder)}) as running:
        running.wait_ready()
        yield running


def exported(service: Service, name: str) -> dict[str, float]:
    """Return the samples of a metric by the one label that does not name the version."""
    text = httpx.get(f"{service.url}/metrics").text
    of_version = ("model", "version", "digest")
    return {
        "".join(
            value for key, value in sample.labels.items() if key not in of_version
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def test_pictures_like_the_reference_show_no_drift(service: Service) -> None:
    send(service, DARK, batches=13)

    assert exported(service, "elastic_yolo_drift_pictures") == {"": 13 * BATCH}
    distances = exported(service, "elastic_yolo_drift_psi")
    assert set(distances) == {"score", "class", "boxes", "size", "brightness"}
    assert max(distances.values()) < 0.1


def test_other_pictures_show_drift(service: Service) -> None:
    """The objects are the same; the brightness of the pictures has changed."""
    send(service, BRIGHT, batches=13)

    distances = exported(service, "elastic_yolo_drift_psi")
    assert distances.pop("brightness") > 0.25
    assert max(distances.values()) < 0.1


def test_only_the_latest_thousand_pictures_count(service: Service) -> None:
    send(service, BRIGHT, batches=13)
    send(service, DARK, batches=5 * 13)

    assert exported(service, "elastic_yolo_drift_psi")["brightness"] < 0.1
    found = exported(service, "elastic_yolo_detections_total")
    assert found == {"square": 6 * 13 * BATCH, "circle": 0}


def test_fewer_than_two_hundred_pictures_give_no_index(service: Service) -> None:
    send(service, BRIGHT, batches=12)

    assert exported(service, "elastic_yolo_drift_psi") == {}


def test_requests_with_a_higher_threshold_are_not_counted(service: Service) -> None:
    """With a threshold of 0.99 nothing is found, which says nothing about the model."""
    send(service, DARK, batches=13, threshold=0.99)
    send(service, DARK, batches=13, threshold=0.01)

    assert exported(service, "elastic_yolo_drift_pictures") == {"": 13 * BATCH}
    assert max(exported(service, "elastic_yolo_drift_psi").values()) < 0.1


def test_distributions_are_exported_as_histograms(service: Service) -> None:
    send(service, BRIGHT, batches=1)

    brightness = exported(service, "elastic_yolo_picture_brightness_bucket")
    boxes = exported(service, "elastic_yolo_picture_detections_bucket")
    assert (brightness["200.0"], brightness["225.0"], brightness["+Inf"]) == (0, BATCH, BATCH)
    assert (boxes["0.0"], boxes["1.0"]) == (0, BATCH)


def test_requests_with_another_iou_are_not_counted(service: Service) -> None:
    """With an iou of 0.99 almost nothing is suppressed, which says nothing about the model."""
    send(service, DARK, batches=1, iou=0.99)
    send(service, DARK, batches=1)

    assert exported(service, "elastic_yolo_drift_pictures") == {"": BATCH}
