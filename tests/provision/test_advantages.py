"""The advantages that docs/model-store.md claims, each with a test."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from elastic_yolo.lab.processes.stack import ROOT, Service, free_port
from elastic_yolo.provision.config import read_models_config
from elastic_yolo.provision.run import Job
from elastic_yolo.store.layout import Layout
from elastic_yolo.store.reader import resolve
from elastic_yolo.store.reference import Reference
from tests.support.models import QUIET, wanted, write_config, write_source
from tests.support.unshare import find_unshare

IMAGES = sorted(ROOT.glob("services/*/Dockerfile*"))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return a store with two models for one service each, one of them in two channels."""
    narrow, wide = write_source(tmp_path / "narrow"), write_source(tmp_path / "wide", cells=2)
    config = write_config(
        tmp_path / "models.yaml",
        wanted(narrow, name="narrow", used_by=["inference"]),
        wanted(wide, name="narrow", version="2", channels=["next"], used_by=["inference"]),
        wanted(wide, name="wide", used_by=["batch"]),
    )
    layout = Layout(tmp_path / "store")
    layout.root.mkdir()
    models = read_models_config(config).models
    assert {report.outcome for report in Job(layout, QUIET, threads=1).provision(models)} == {
        "published"
    }
    return layout.root


def serve(place: str) -> Service:
    return Service("inference", free_port(), {"MODEL_PATH": place})


def answering(service: Service) -> tuple[str, str]:
    """Return name and version of the model that serves predictions."""
    model = httpx.get(f"{service.url}/health/status").raise_for_status().json()["model"]
    return model["name"], model["version"]


def test_a_service_starts_without_a_network_and_without_writing(store: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    ended = subprocess.run(
        [
            *find_unshare("a network namespace cannot be created"),
            *("unshare", "--net", sys.executable, "-W", "error"),
            *("-m", "tests.provision.no_network", f"store:{store}/narrow@stable"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "1\n"
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before


def test_one_volume_serves_two_services_at_the_same_time(store: Path) -> None:
    """Common files of both models are stored once."""
    with ExitStack() as running:
        services = [
            running.enter_context(serve(f"store:{store}/{name}@stable"))
            for name in ("narrow", "wide")
        ]
        for service in services:
            service.wait_ready()
        found = [answering(service) for service in services]

    assert found == [("narrow", "1"), ("wide", "1")]
    folders = [resolve(Reference(store, name, "stable")).folder for name in ("narrow", "wide")]
    inodes = {(folder / "tiny.weights").stat().st_ino for folder in folders}
    assert len(inodes) == 1


def test_one_environment_variable_selects_another_model(store: Path) -> None:
    found = []
    for place in ("narrow@stable", "narrow@next", "wide@stable"):
        with serve(f"store:{store}/{place}") as service:
            service.wait_ready()
            found.append(answering(service))

    assert found == [("narrow", "1"), ("narrow", "2"), ("wide", "1")]


def test_pull_for_a_service_takes_its_models_only(tmp_path: Path, store: Path) -> None:
    models = read_models_config(tmp_path / "models.yaml").used_by(["batch"])

    assert [(model.name, model.version) for model in models] == [("wide", None)]
    assert store.is_dir()


@pytest.mark.parametrize("dockerfile", IMAGES, ids=lambda path: path.parent.name)
def test_no_weights_go_into_an_image(dockerfile: Path) -> None:
    """Images copy whole folders of source code; the largest file in them is a font of 1.5 MB."""
    copied = [
        line.split()[1]
        for line in dockerfile.read_text().splitlines()
        if line.startswith("COPY ") and "--from=" not in line
    ]
    files = [
        file
        for name in copied
        for file in (ROOT / name, *(ROOT / name).rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    ]

    assert files
    assert not [file for file in files if file.suffix in (".weights", ".onnx", ".bin", ".pt")]
    assert max(file.stat().st_size for file in files) < 2_000_000


def test_the_build_context_has_the_listed_files_only() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    sent = {line.removeprefix("!") for line in ignored if line.startswith("!")}

    assert "*" in ignored
    # The manifests are what hpa-lab reads in the image elastic-yolo/tools.
    code = {"elastic_yolo", "services", "k8s/base", "k8s/components/stream"}
    # For the image that makes load, which sends the client's pictures.
    load = {"client", "loadtest"}
    # For the image elastic-yolo/tools: clusters without internet.
    model = {"models/demo"}
    assert sent == {"locks/*.txt"} | code | load | model
