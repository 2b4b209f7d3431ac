"""Files that were changed at random are refused with an error of ours, or consistent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elastic_yolo.detector.darknet.cfg import parse_cfg, read_cfg
from elastic_yolo.detector.darknet.plan import plan_network
from elastic_yolo.detector.darknet.weights import read_weights
from elastic_yolo.detector.errors import CfgError, ModelError, WeightsError
from elastic_yolo.detector.manifest import parse_manifest, read_manifest
from elastic_yolo.detector.model import read_model
from tests.detector.consistent import assert_consistent, assert_one_line
from tests.detector.mutations import CFGS, cfgs, manifests, weights, written
from tests.support.tiny import write_tiny_model, write_weights

SMALL = plan_network(parse_cfg(CFGS[0]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose files each example overwrites."""
    return write_tiny_model(tmp_path_factory.mktemp("mutated"))


def good_weights(folder: Path) -> bytes:
    path = folder / "good"
    write_weights(path, np.ones(SMALL.float_count))
    return path.read_bytes()


@pytest.mark.parametrize("text", CFGS)
def test_the_networks_that_are_mutated_are_consistent(folder: Path, text: str) -> None:
    assert_consistent(plan_network(parse_cfg(text)), folder)


@settings(max_examples=1000)
@given(cfgs())
def test_a_mutated_cfg_is_consistent_or_refused(folder: Path, text: str) -> None:
    try:
        network = plan_network(read_cfg(written(folder, "some.cfg", text)))
    except CfgError as error:
        assert_one_line(error)
        return
    finally:
        (folder / "some.cfg").unlink()

    assert_consistent(network, folder)


@settings(max_examples=400)
@given(st.data())
def test_mutated_weights_are_refused_or_all_finite(folder: Path, data: st.DataObject) -> None:
    content = data.draw(weights(good_weights(folder)))
    path = written(folder, "some.weights", content)

    try:
        found = read_weights(path, SMALL)
    except WeightsError as error:
        assert_one_line(error)
        return
    finally:
        path.unlink()

    assert found.convolutions.keys() == {layer.index for layer in SMALL.convolutions}
    for layer in SMALL.convolutions:
        filters, biases = found.convolutions[layer.index].folded()
        assert filters.shape == layer.weights_shape
        assert biases.shape == (layer.output.channels,)
        assert np.isfinite(filters).all()
        assert np.isfinite(biases).all()


@settings(max_examples=400)
@given(manifests())
def test_a_mutated_manifest_is_refused_or_says_what_it_must(folder: Path, text: str) -> None:
    path = written(folder, "model.yaml", text)
    try:
        manifest = read_manifest(folder)
    except ModelError as error:
        assert_one_line(error)
        return
    finally:
        path.unlink()

    assert 0 <= manifest.threshold <= 1
    assert 0 <= manifest.iou <= 1
    assert manifest.golden is None or "/" not in manifest.golden.picture


@given(st.text())
def test_any_text_as_a_manifest_is_read_or_refused(text: str) -> None:
    try:
        manifest = parse_manifest(text)
    except ModelError:
        return

    assert 0 <= manifest.threshold <= 1


@given(st.sampled_from(["tiny.cfg", "tiny.names", "model.yaml", "tiny.weights"]), st.binary())
def test_any_bytes_in_any_file_are_read_or_refused(folder: Path, name: str, content: bytes) -> None:
    path = folder / name
    before = path.read_bytes() if path.exists() else None
    path.write_bytes(content)
    try:
        model = read_model(folder)
    except ModelError as error:
        assert_one_line(error)
        return
    finally:
        path.unlink()
        if before is not None:
            path.write_bytes(before)

    assert len(model.labels) == model.network.classes
