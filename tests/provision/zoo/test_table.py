"""The table of the zoo agrees with its .cfg files, and with itself.

The .cfg files that are not shipped are not read here. Most of these networks are also written in
bench/oracle; what their entries say is compared with that.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pydantic import ValidationError

from bench.oracle.networks import DEBIAN, NETWORKS, write_cfg
from elastic_yolo.detector.darknet.cfg import read_cfg
from elastic_yolo.detector.darknet.layers import Network
from elastic_yolo.detector.darknet.plan import plan_network
from elastic_yolo.digest import digest_of_bytes
from elastic_yolo.provision.sources import choose_source
from elastic_yolo.provision.zoo import UnknownZooModel, ZooModel, find_zoo_model, zoo_names
from elastic_yolo.provision.zoo.table import ENTRIES, ShippedFile, ZooFile

EVERY = pytest.mark.parametrize("name", zoo_names())
SHIPPED = [name for name in zoo_names() if isinstance(find_zoo_model(name).cfg, ShippedFile)]
DOWNLOADED = [name for name in zoo_names() if name not in SHIPPED]
# The folders of Debian's package darknet with files of each kind.
FOLDERS = {".cfg": DEBIAN, ".names": DEBIAN.parent / "data"}


def shipped_cfg(name: str) -> Path:
    cfg = find_zoo_model(name).cfg
    assert isinstance(cfg, ShippedFile)
    return cfg.path


def check_entry(model: ZooModel, network: Network) -> None:
    """Weights have a header of 16 bytes, from 2018 on 20 bytes, and 4 bytes for each number."""
    assert model.input == (network.input.width, network.input.height)
    assert model.classes == network.classes
    assert network.flop / 1e9 == pytest.approx(model.gflop, rel=0.001)
    assert model.weights.size - 4 * network.float_count in (16, 20)


@pytest.mark.parametrize("name", SHIPPED)
def test_input_classes_gflop_and_size_are_those_of_the_cfg(name: str) -> None:
    check_entry(find_zoo_model(name), plan_network(read_cfg(shipped_cfg(name))))


@pytest.mark.parametrize("name", [name for name in DOWNLOADED if name in NETWORKS])
def test_an_entry_agrees_with_the_oracles_network(tmp_path: Path, name: str) -> None:
    """The oracle has definitions of its own, which are compared with Darknet elsewhere."""
    check_entry(find_zoo_model(name), plan_network(read_cfg(write_cfg(name, tmp_path))))


@pytest.mark.parametrize("name", DOWNLOADED)
def test_a_downloaded_cfg_is_pinned_to_a_commit_and_small(name: str) -> None:
    cfg = find_zoo_model(name).cfg

    assert isinstance(cfg, ZooFile)
    assert 1_000 < cfg.size < 50_000
    assert cfg.name.endswith(".cfg")
    for source in cfg.sources:
        assert re.search(rf"/[0-9a-f]{{40}}/(.+/)?{re.escape(cfg.name)}$", source)


def test_a_downloaded_cfg_without_a_digest_is_refused() -> None:
    stated = find_zoo_model(DOWNLOADED[0]).model_dump()
    del stated["cfg"]["sha256"]

    with pytest.raises(ValidationError, match="cfg: expected sha256"):
        ZooModel.model_validate(stated)


@EVERY
def test_weights_are_whole_numbers_of_a_plausible_count(name: str) -> None:
    """Headers and numbers are multiples of 4 bytes; each number takes part in the arithmetic."""
    model = find_zoo_model(name)
    numbers = model.weights.size // 4

    assert model.weights.size % 4 == 0
    assert 10**5 < numbers < 2 * 10**8
    assert 2 * numbers < model.gflop * 1e9 < 2 * numbers * model.input[0] * model.input[1]


@EVERY
def test_shipped_files_have_the_stated_digests_and_sizes(name: str) -> None:
    model = find_zoo_model(name)
    for file in (model.cfg, model.names):
        if isinstance(file, ShippedFile):
            content = file.path.read_bytes()
            assert (digest_of_bytes(content), len(content)) == (file.digest, file.size)


def test_only_files_of_debians_package_are_shipped() -> None:
    """Beside them are golden pictures, each made from a photo of that package."""
    shipped = [path for path in ENTRIES.iterdir() if path.suffix not in (".yaml", ".jpg")]
    assert {path.suffix for path in shipped} == FOLDERS.keys()
    if not DEBIAN.is_dir():
        pytest.skip('run "make oracle": Debian\'s package darknet is missing')

    for path in shipped:
        assert path.read_bytes() == (FOLDERS[path.suffix] / path.name).read_bytes()


@EVERY
def test_there_is_one_label_for_each_class(name: str) -> None:
    model = find_zoo_model(name)
    labels = [line for line in model.names.path.read_text().splitlines() if line.strip()]

    assert len(labels) == model.classes


@pytest.mark.parametrize("name", SHIPPED)
def test_letter_box_in_a_cfg_means_letterbox(name: str) -> None:
    model = find_zoo_model(name)
    stated = read_cfg(shipped_cfg(name)).net.integer("letter_box", 0)

    assert model.resize == "letterbox" if stated else model.resize in ("letterbox", "stretch", None)


@EVERY
def test_a_digest_or_hash_names_the_projects_that_state_it(name: str) -> None:
    weights = find_zoo_model(name).weights

    assert bool(weights.stated_by) == bool(weights.sha256 or weights.hashes)
    assert not (weights.sha256 and weights.hashes)


@EVERY
def test_every_source_is_an_address_of_a_known_kind(name: str) -> None:
    for file in find_zoo_model(name).downloaded:
        assert len(set(file.sources)) == len(file.sources)
        for source in file.sources:
            choose_source(source)
            assert urlsplit(source).scheme in ("https", "hf", "pypi")


def test_every_file_of_the_table_belongs_to_a_model() -> None:
    used = {f"{name}.yaml" for name in zoo_names()}
    for name in zoo_names():
        used |= find_zoo_model(name).shipped.keys()

    assert {path.name for path in ENTRIES.iterdir()} == used


def test_an_unknown_name_is_answered_with_the_nearest_ones() -> None:
    with pytest.raises(
        UnknownZooModel, match=r"yolo3-tiny: no such model .* nearest are yolov3-tiny,"
    ):
        find_zoo_model("yolo3-tiny")


@pytest.mark.parametrize("name", ["../yolov3", "", "yolov3.yaml", "/etc/passwd"])
def test_a_name_is_never_used_as_a_path(name: str) -> None:
    with pytest.raises(UnknownZooModel, match="no such model in the zoo"):
        find_zoo_model(name)
