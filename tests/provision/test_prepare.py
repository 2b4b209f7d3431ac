"""Preparation of a published model: the artefact cache, and the reference profile."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from elastic_yolo.detector.model import read_model
from elastic_yolo.detector.profile import FILE, read_reference
from elastic_yolo.lab.processes.stack import DEMO_MODEL, ROOT, Service, free_port
from elastic_yolo.provision.config import read_models_config
from elastic_yolo.provision.run import Job, Report
from elastic_yolo.store.errors import NotInStore
from elastic_yolo.store.layout import Layout
from elastic_yolo.store.reader import resolve
from elastic_yolo.store.reference import Reference
from tests.support.models import QUIET, wanted, write_config, write_source
from tests.support.pictures import encode, plain

DEMO_FILES = ("yolov3-tiny-emoji.cfg", "yolov3-tiny-emoji.names", "yolov3-tiny-emoji.weights")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Return a folder with three grey pictures."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(encode(plain(40 + number, 30)))
    return folder


def provision(folder: Path, model: dict[str, Any], cache: Path | None = None) -> Report:
    """Run once."""
    layout = Layout(folder / "store")
    layout.root.mkdir(exist_ok=True)
    config = write_config(folder / "models.yaml", model)
    (report,) = Job(layout, QUIET, threads=2, cache=cache).provision(
        read_models_config(config).models
    )
    return report


def stable(folder: Path, name: str = "tiny") -> Path:
    return resolve(Reference(folder / "store", name, "stable")).folder


def written(folder: Path) -> dict[Path, int]:
    """Return the modification times of all files except compiled blobs."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path: path.stat().st_mtime_ns for path in files if "-compiled-" not in path.name}


def test_detections_in_typical_pictures_are_recorded(tmp_path: Path, pictures: Path) -> None:
    model = wanted(write_source(tmp_path / "source"), pictures=str(pictures))

    first = provision(tmp_path, model)
    before = written(tmp_path / "store")
    second = provision(tmp_path, model)

    assert (first.outcome, first.files) == ("published", 3)
    assert (second.outcome, second.bytes) == ("present", 0)
    assert written(tmp_path / "store") == before
    reference = read_reference(read_model(stable(tmp_path)))
    assert reference is not None
    assert reference.pictures == 3
    assert reference.counts["class"].tolist() == [3, 0]
    assert reference.counts["boxes"].tolist() == [0, 3, 0, 0, 0, 0, 0, 0]


def test_a_reference_profile_of_the_model_is_kept(tmp_path: Path, pictures: Path) -> None:
    provision(tmp_path, wanted(write_source(tmp_path / "source"), pictures=str(pictures)))
    shutil.copy(stable(tmp_path) / FILE, tmp_path / "source")
    model = wanted(tmp_path / "source", version="2")
    model["files"][FILE] = {}

    assert provision(tmp_path, model).outcome == "published"
    assert (stable(tmp_path) / FILE).read_bytes() == (tmp_path / "source" / FILE).read_bytes()


@pytest.mark.parametrize("content", [b"{}", b"half a refer"])
def test_an_invalid_reference_profile_refuses_the_model(tmp_path: Path, content: bytes) -> None:
    model = wanted(write_source(tmp_path / "source"))
    (tmp_path / "source" / FILE).write_bytes(content)
    model["files"][FILE] = {}

    report = provision(tmp_path, model)

    assert (report.outcome, report.retryable) == ("failed", False)
    assert FILE in str(report.error)


def test_without_a_single_usable_picture_nothing_is_published(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    model = wanted(write_source(tmp_path / "source"), pictures=str(tmp_path / "empty"))

    report = provision(tmp_path, model)

    assert (report.outcome, report.retryable) == ("failed", False)
    assert "empty: no pictures" in str(report.error)
    with pytest.raises(NotInStore):
        stable(tmp_path)


@pytest.mark.long
def test_a_service_starts_from_prepared_artefacts(tmp_path: Path) -> None:
    """It selects the measured precision and makes no artefacts itself."""
    model: dict[str, Any] = {
        "name": "demo",
        "source": str(DEMO_MODEL),
        "pictures": str(ROOT / "client" / "images"),
        "files": {name: {} for name in DEMO_FILES},
    }
    cache = tmp_path / "cache"
    first = provision(tmp_path, model, cache)
    before = written(cache)
    second = provision(tmp_path, model, cache)
    env = {
        "MODEL_PATH": f"store:{tmp_path}/store/demo@stable",
        "CACHE_DIR": str(cache),
    }
    with Service("inference", free_port(), env, tmp_path / "log") as service:
        service.wait_ready()

    assert (first.outcome, first.prepared) == ("published", ("fp32", "int8", "accuracy"))
    assert (second.outcome, second.prepared) == ("present", ())
    assert written(cache) == before
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    (loaded,) = [line for line in lines if line["event"] == "model loaded"]
    assert "the fastest measured on this kind of machine" in loaded["why"]


def test_a_model_that_cannot_be_prepared_is_not_switched_to(tmp_path: Path) -> None:
    """Otherwise every pod would repeat the failing step. The next run continues."""
    provision(tmp_path, wanted(write_source(tmp_path / "one")))
    model = wanted(write_source(tmp_path / "two", cells=2), version="2")
    (tmp_path / "cache").write_text("no folder")

    report = provision(tmp_path, model, tmp_path / "cache")

    assert report.outcome == "failed"
    assert str(tmp_path / "cache") in str(report.error)
    assert stable(tmp_path).name.startswith("1-")
    (tmp_path / "cache").unlink()
    again = provision(tmp_path, model, tmp_path / "cache")
    assert (again.outcome, again.bytes, again.prepared) == ("switched", 0, ("fp32",))
    assert stable(tmp_path).name.startswith("2-")
