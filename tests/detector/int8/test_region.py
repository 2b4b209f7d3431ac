"""Which tensors become int8, and which share a range."""

from __future__ import annotations

from pathlib import Path

from elastic_yolo.detector.graph import float_nodes
from elastic_yolo.detector.int8.region import Region
from tests.detector.int8.graphs import HEAD, convolution, write_graph


def region_of(layers: str, folder: Path) -> Region:
    graph, network = write_graph(layers, folder)
    return Region(graph.graph, float_nodes(network))


def test_all_convolutions_but_those_before_heads_are_integers(tmp_path: Path) -> None:
    region = region_of(2 * convolution(4) + HEAD, tmp_path)

    assert [node.name for node in region.convolutions] == ["layer0_conv", "layer1_conv"]
    assert region.essential == ["input", "layer0"]
    assert region.measured == ["input", "layer0_conv", "layer0", "layer1_conv", "layer1"]


def test_operators_that_move_values_share_the_range_of_their_inputs(tmp_path: Path) -> None:
    layers = (
        convolution(4) + "[maxpool]\nsize=2\nstride=2\n" + convolution(4)
        + "[upsample]\nstride=2\n[route]\nlayers=-1,0\n" + convolution(4) + HEAD
    )  # fmt: skip

    region = region_of(layers, tmp_path)

    shared = ("layer0", "layer1", "layer2", "layer3_larger", "layer4")
    assert len({region.tensors[name] for name in shared}) == 1
    assert region.tensors["layer5"] != region.tensors["layer0"]
    assert region.essential == ["input", "layer0", "layer2"]
    assert not {"layer1", "layer3_larger", "layer4"} & set(region.measured)


def test_sums_have_a_range_of_their_own(tmp_path: Path) -> None:
    shortcut = "[shortcut]\nfrom=-2\nactivation=linear\n"

    region = region_of(2 * convolution(4) + shortcut + convolution(4) + HEAD, tmp_path)

    assert region.essential == ["input", "layer0", "layer2_sum0"]
    assert len({region.tensors[name] for name in ("layer0", "layer1", "layer2_sum0")}) == 3


def test_negative_values_count_less_only_before_an_activation(tmp_path: Path) -> None:
    kinds = ("leaky", "linear", "mish", "swish", "logistic", "relu")
    layers = "".join(convolution(4, activation=kind) for kind in kinds)

    region = region_of(layers + HEAD, tmp_path)

    assert region.damped == {"layer0_conv", "layer2_conv", "layer3_conv", "layer5_conv"}


def test_a_network_of_a_single_convolution_has_nothing_to_quantise(tmp_path: Path) -> None:
    region = region_of(HEAD, tmp_path)

    assert (region.convolutions, region.essential, region.measured) == ([], [], [])
