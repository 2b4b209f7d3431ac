"""The table of the zoo agrees with its .cfg files, and with itself."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from elastic_yolo.detector.darknet.cfg import read_cfg
from elastic_yolo.detector.darknet.layers import Network
from elastic_yolo.detector.darknet.plan import plan_network
from elastic_yolo.digest import digest_of_bytes
from elastic_yolo.provision.sources import choose_source
from elastic_yolo.provision.zoo import UnknownZooModel, find_zoo_model, zoo_names
from elastic_yolo.provision.zoo.table import ENTRIES

EVERY = pytest.mark.parametrize("name", zoo_names())


def network(name: str) -> Network:
    return plan_network(read_cfg(find_zoo_model(name).cfg.path))


@EVERY
def test_input_classes_and_gflop_are_those_of_the_cfg(name: str) -> None:
    model, planned = find_zoo_model(name), network(name)

    assert model.input == (planned.input.width, planned.input.height)
    assert model.classes == planned.classes
    assert planned.flop / 1e9 == pytest.approx(model.gflop, rel=0.01)


@EVERY
def test_the_weights_are_as_long_as_the_cfg_requires(name: str) -> None:
    """A header of 16 bytes, in files from 2018 on 20 bytes, and 4 bytes for each number."""
    header = find_zoo_model(name).weights.size - 4 * network(name).float_count

    assert header in (16, 20)


@EVERY
def test_shipped_files_have_the_stated_digests_and_sizes(name: str) -> None:
    model = find_zoo_model(name)
    for file in (model.cfg, model.names):
        content = file.path.read_bytes()
        assert (digest_of_bytes(content), len(content)) == (file.digest, file.size)


@EVERY
def test_there_is_one_label_for_each_class(name: str) -> None:
    model = find_zoo_model(name)
    labels = [line for line in model.names.path.read_text().splitlines() if line.strip()]

    assert len(labels) == model.classes


@EVERY
def test_letter_box_in_a_cfg_means_letterbox(name: str) -> None:
    model = find_zoo_model(name)
    stated = read_cfg(model.cfg.path).net.integer("letter_box", 0)

    assert model.resize == "letterbox" if stated else model.resize in ("letterbox", "stretch", None)


@EVERY
def test_a_digest_or_hash_names_the_projects_that_state_it(name: str) -> None:
    weights = find_zoo_model(name).weights

    assert bool(weights.stated_by) == bool(weights.sha256 or weights.hashes)
    assert not (weights.sha256 and weights.hashes)


@EVERY
def test_every_source_is_an_address_of_a_known_kind(name: str) -> None:
    sources = find_zoo_model(name).weights.sources

    assert len(set(sources)) == len(sources)
    for source in sources:
        choose_source(source)
        assert urlsplit(source).scheme in ("https", "hf", "pypi")


def test_every_file_of_the_table_belongs_to_a_model() -> None:
    used = {f"{name}.yaml" for name in zoo_names()}
    for name in zoo_names():
        used |= find_zoo_model(name).shipped.keys()

    assert {path.name for path in ENTRIES.iterdir()} == used


def test_an_unknown_name_is_answered_with_the_nearest_ones() -> None:
    with pytest.raises(UnknownZooModel, match=r"yolo3-tiny: no such model .* mean yolov3-tiny or"):
        find_zoo_model("yolo3-tiny")


@pytest.mark.parametrize("name", ["../yolov3", "", "yolov3.yaml", "/etc/passwd"])
def test_a_name_is_never_used_as_a_path(name: str) -> None:
    with pytest.raises(UnknownZooModel, match=r"the zoo has .*yolov3-tiny"):
        find_zoo_model(name)
