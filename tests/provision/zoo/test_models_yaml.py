"""`zoo: NAME` in models.yaml stands for the table's entry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from elastic_yolo.detector.model import read_model
from elastic_yolo.lab.processes.stack import ROOT
from elastic_yolo.provision.config import ModelConfig, read_models_config
from elastic_yolo.provision.errors import ConfigError, SourceRefused
from elastic_yolo.provision.sources import ResumePoint, choose_source
from elastic_yolo.provision.zoo import ZooFile, find_zoo_model
from elastic_yolo.store.layout import Layout
from elastic_yolo.store.reader import resolve
from elastic_yolo.store.reference import Reference
from elastic_yolo.store.writer import Writer
from tests.provision.provisioning import provision
from tests.support.models import write_config
from tests.support.real_models import real_model


def read(tmp_path: Path, **stated: Any) -> ModelConfig:
    (model,) = read_models_config(write_config(tmp_path / "models.yaml", stated)).models
    return model


def test_an_entry_gives_name_version_files_and_sources(tmp_path: Path) -> None:
    model, zoo = read(tmp_path, zoo="yolov3-tiny"), find_zoo_model("yolov3-tiny")

    assert (model.name, model.version) == ("yolov3-tiny", zoo.version)
    assert model.addresses("yolov3-tiny.weights") == zoo.weights.sources
    assert model.files["yolov3-tiny.weights"].digest == zoo.weights.digest
    assert model.addresses("yolov3-tiny.cfg") == ("zoo:yolov3-tiny/yolov3-tiny.cfg",)
    assert {"coco.names", "model.yaml", "person-416.jpg"} < model.files.keys()


def test_a_cfg_that_is_not_shipped_has_the_tables_sources(tmp_path: Path) -> None:
    """It precedes the weights: files are fetched in this order."""
    model, zoo = read(tmp_path, zoo="yolov4"), find_zoo_model("yolov4")

    assert isinstance(zoo.cfg, ZooFile)
    assert model.addresses("yolov4.cfg") == zoo.cfg.sources
    assert model.files["yolov4.cfg"].digest == zoo.cfg.digest
    assert model.addresses("coco.names") == ("zoo:yolov4/coco.names",)
    assert list(model.files) == ["yolov4.cfg", "coco.names", "model.yaml", "yolov4.weights"]


def test_the_manifest_has_the_digests_of_downloaded_files() -> None:
    zoo = find_zoo_model("yolov4")
    with choose_source("zoo:yolov4/model.yaml")("zoo:yolov4/model.yaml", ResumePoint()) as opened:
        manifest = yaml.safe_load(b"".join(opened.chunks))

    assert manifest["files"] == {
        file.name: file.digest for file in (zoo.cfg, zoo.names, zoo.weights)
    }
    with pytest.raises(SourceRefused, match="downloaded files have their own sources"):
        choose_source("zoo:yolov4/yolov4.cfg")("zoo:yolov4/yolov4.cfg", ResumePoint()).__enter__()


def test_name_version_and_channels_can_differ(tmp_path: Path) -> None:
    model = read(tmp_path, zoo="yolov4", name="four", version="7", channels=["next"])

    assert (model.name, model.version, model.channels) == ("four", "7", ("next",))


def test_an_unknown_name_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"models\.0: yolov3tiny: no .*nearest are yolov3-tiny"):
        read(tmp_path, zoo="yolov3tiny")


@pytest.mark.parametrize("name", ["", ["yolov3-tiny"]])
def test_zoo_without_a_name_is_refused(tmp_path: Path, name: object) -> None:
    with pytest.raises(ConfigError) as raised:
        read(tmp_path, zoo=name)

    assert str(raised.value) == (
        f"{tmp_path / 'models.yaml'}: models.0: zoo: expected the name of a model: "
        "`elastic-yolo models list` prints all"
    )


def test_an_entry_that_is_there_twice_is_refused_as_such(tmp_path: Path) -> None:
    path = write_config(tmp_path / "models.yaml", {"zoo": "yolov3-tiny"}, {"zoo": "yolov3-tiny"})

    with pytest.raises(ConfigError, match="yolov3-tiny: two entries of the same version: remove"):
        read_models_config(path)


@pytest.mark.parametrize("field", ["source", "files"])
def test_zoo_replaces_source_and_files(tmp_path: Path, field: str) -> None:
    with pytest.raises(ConfigError, match="zoo gives source and files"):
        read(tmp_path, zoo="yolov3", **{field: {} if field == "files" else "x"})


def test_the_repositorys_own_lists_use_the_table() -> None:
    for path in ("docs/models.yolov3.yaml", "k8s/base/models-to-provision.yaml"):
        models = yaml.safe_load((ROOT / path).read_text())["models"]
        assert [model.keys() & {"source", "files"} for model in models] == [set()] * len(models)
        assert all(model["zoo"].startswith("yolov3") for model in models)


def test_a_provisioned_model_has_its_golden_picture(tmp_path: Path) -> None:
    """The weights are in the store already, so that nothing is downloaded."""
    weights = real_model("yolov3-tiny") / "yolov3-tiny.weights"
    store = tmp_path / "store"
    copy = tmp_path / "copy"
    copy.write_bytes(weights.read_bytes())
    digest = find_zoo_model("yolov3-tiny").weights.digest
    assert digest is not None
    Writer(Layout(store)).add_blob(copy, digest)

    (report,) = provision(store, {"zoo": "yolov3-tiny"})

    assert (report.outcome, report.error) == ("published", None)
    published = resolve(Reference(store, "yolov3-tiny", "stable"))
    assert published.record.source == "zoo:yolov3-tiny"
    assert read_model(published.folder).golden is not None
