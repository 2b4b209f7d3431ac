"""MODEL_PATH: a folder, or channels of a model store that share the requests."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from elastic_yolo.lab.processes.stack import Service, Stack, StackError, free_port
from elastic_yolo.provision.config import read_models_config
from elastic_yolo.provision.run import Job
from elastic_yolo.store.errors import BadReference
from elastic_yolo.store.layout import Layout
from elastic_yolo.store.reference import Reference
from services.inference.versions.model_source import parse_channels
from tests.support.models import QUIET, wanted, write_config, write_source
from tests.support.pictures import encode, plain

PICTURE = {"image": encode(plain(64, 48), "JPEG")}

SHARED = "store:/m/yolo@stable=95,yolo@next=5"


def test_channels_have_weights_and_a_shadow() -> None:
    channels = parse_channels(SHARED + ",yolo@night=shadow")

    assert [(str(channel), weight) for channel, weight in channels.weights] == [
        ("store:/m/yolo@stable", 95),
        ("store:/m/yolo@next", 5),
    ]
    assert str(channels.shadow) == "store:/m/yolo@night"


def test_a_single_channel_needs_no_weight() -> None:
    stable = Reference(Path("/m"), "yolo", "stable")

    assert parse_channels("store:/m/yolo").weights == ((stable, 1),)
    assert parse_channels("store:/m/yolo@a,yolo@b=shadow").shadow is not None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (SHARED + ",other@next=1", "only channels of yolo can share its requests"),
        (SHARED + ",yolo@third", "expected a weight from 0 to 9999"),
        (SHARED + ",yolo@third=-1", "expected a weight from 0 to 9999"),
        (SHARED + ",yolo@third=5%", "expected a weight from 0 to 9999"),
        (SHARED + ",yolo@next=1", "a channel is named twice"),
        (SHARED + ",yolo@a=shadow,yolo@b=shadow", "only one channel can be the shadow"),
        (SHARED + ",yolo@next=shadow", "a channel is named twice"),
        ("store:/m/yolo@stable,yolo@stable=shadow", "a channel is named twice"),
        (SHARED + ",", "at most 100 letters"),
        ("store:/m/yolo@stable,yolo@next=5", "several channels need a weight each"),
        ("store:/m/yolo@stable=0,yolo@next=0", "at least one weight must be more than 0"),
        ("store:/m/yolo@stable=shadow", "expected a weight from 0 to 9999"),
    ],
)
def test_invalid_channels_are_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(BadReference, match=re.escape(why)):
        parse_channels(text)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store in which the tiny model is called square-finder."""
    source = write_source(tmp_path / "source")
    model = wanted(source, name="square-finder", version="2018", channels=["next"])
    config = write_config(tmp_path / "models.yaml", model)
    layout = Layout(tmp_path / "store")
    layout.root.mkdir()
    (report,) = Job(layout, QUIET, threads=1).provision(read_models_config(config).models)
    assert report.outcome == "published"
    return layout.root


def test_responses_name_the_model_and_version_of_the_store(tmp_path: Path, store: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    env = {"inference": {"MODEL_PATH": f"store:{store}/square-finder@next"}}
    with Stack(logs=tmp_path, env=env) as stack:
        response = httpx.post(f"{stack.web.url}/inference", files=PICTURE).json()

    assert response["data"][0][0] == "square"
    assert (response["model"]["name"], response["model"]["version"]) == ("square-finder", "2018")
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("store:{store}/square-finder@stable", "no such model or channel in this store"),
        ("store:{store}/other@next", "no such model or channel in this store"),
        ("store:nowhere", "expected store:/folder/name@channel"),
    ],
)
def test_a_missing_channel_ends_the_start_with_one_line(
    tmp_path: Path, store: Path, reference: str, why: str
) -> None:
    log = tmp_path / "log"
    env = {"MODEL_PATH": reference.format(store=store)}
    with Service("inference", free_port(), env, log) as service, pytest.raises(StackError):
        service.wait_ready()

    assert log.read_text().startswith("MODEL_PATH")
    assert log.read_text().count("\n") == 1
    assert why in log.read_text()
