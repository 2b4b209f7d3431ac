"""The inference service serves what a channel of a store points at."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from services.provision.config import read_wanted
from services.provision.run import Job
from store.layout import Layout
from tests.pictures import encode, plain
from tests.provision.models import wanted, write_config, write_source
from tools.stack import Service, Stack, StackError, free_port

PICTURE = {"image": encode(plain(64, 48), "JPEG")}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store, read-only, in which the tiny model is called square-finder."""
    source = write_source(tmp_path / "source")
    model = wanted(source, name="square-finder", version="2018", channels=["next"])
    config = write_config(tmp_path / "models.yaml", model)
    layout = Layout(tmp_path / "store")
    layout.root.mkdir()
    (report,) = Job(layout, lambda *_: None, threads=1).run(read_wanted(config).models)
    assert report.outcome == "published"
    return layout.root


def test_answers_name_the_model_and_version_of_the_store(tmp_path: Path, store: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    env = {"inference": {"MODEL_PATH": f"store:{store}/square-finder@next"}}
    with Stack(logs=tmp_path, env=env) as stack:
        answer = httpx.post(f"{stack.web.url}/inference", files=PICTURE).json()

    assert answer["data"][0][0] == "square"
    assert (answer["model"]["name"], answer["model"]["version"]) == ("square-finder", "2018")
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("store:{store}/square-finder@stable", "no such model or channel in this store"),
        ("store:{store}/other@next", "no such model or channel in this store"),
        ("store:nowhere", "expected store:/folder/name@channel"),
    ],
)
def test_what_a_store_does_not_have_ends_the_start_with_one_line(
    tmp_path: Path, store: Path, reference: str, why: str
) -> None:
    log = tmp_path / "log"
    env = {"MODEL_PATH": reference.format(store=store)}
    with Service("inference", free_port(), env, log) as service, pytest.raises(StackError):
        service.wait_ready()

    assert log.read_text().startswith("MODEL_PATH")
    assert log.read_text().count("\n") == 1
    assert why in log.read_text()
