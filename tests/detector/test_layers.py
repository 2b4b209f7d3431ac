"""Shapes of layers as Darknet computes them, and networks that do not fit together."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.darknet.cfg import parse_cfg
from detector.darknet.layers import Convolutional, Maxpool, Network, Shape, plan_network
from detector.errors import CfgError

NET = "[net]\nwidth=64\nheight=32\nchannels=3\n"
HEAD = "[convolutional]\nfilters=6\nactivation=linear\n[yolo]\nclasses=1\nnum=1\nanchors=5,5\n"


def plan(layers: str, net: str = NET) -> Network:
    return plan_network(parse_cfg(net + layers, Path("x.cfg")))


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ("filters=4\nsize=3\nstride=1\npad=1", Shape(4, 32, 64)),
        ("filters=4\nsize=3\nstride=2\npad=1", Shape(4, 16, 32)),
        ("filters=4\nsize=3\nstride=2\npadding=0", Shape(4, 15, 31)),
        ("filters=4\nsize=1\nstride=1\npad=1", Shape(4, 32, 64)),
    ],
)
def test_convolution_sizes(options: str, shape: Shape) -> None:
    network = plan(f"[convolutional]\n{options}\nactivation=leaky\n{HEAD}")

    assert network.layers[0].output == shape


@pytest.mark.parametrize(
    ("options", "shape", "padding"),
    [
        ("size=2\nstride=2", Shape(3, 16, 32), 1),
        ("size=2\nstride=1", Shape(3, 32, 64), 1),
        ("size=5\nstride=1", Shape(3, 32, 64), 4),
        ("stride=4", Shape(3, 8, 16), 3),
    ],
)
def test_maxpool_sizes(options: str, shape: Shape, padding: int) -> None:
    """Without padding= Darknet pads size - 1 in total, so that stride 1 keeps the size."""
    layer = plan(f"[maxpool]\n{options}\n{HEAD}").layers[0]

    assert isinstance(layer, Maxpool)
    assert (layer.output, layer.padding) == (shape, padding)


def test_routes_concatenate_and_count_from_the_end() -> None:
    network = plan(
        "[convolutional]\nfilters=4\nactivation=leaky\n"
        "[convolutional]\nfilters=5\nactivation=leaky\n"
        f"[route]\nlayers=-1, 0\n{HEAD}"
    )

    assert network.layers[2].output == Shape(9, 32, 64)
    assert network.layers[2].sources == (1, 0)


def test_a_convolution_counts_its_floats() -> None:
    """Filters, biases and three statistics for each of 4 filters over 3 channels of 3x3."""
    layer = plan(
        f"[convolutional]\nfilters=4\nsize=3\nbatch_normalize=1\nactivation=leaky\n{HEAD}"
    ).layers[0]

    assert isinstance(layer, Convolutional)
    assert layer.float_count == 4 * 3 * 9 + 4 * 4


def test_a_head_keeps_the_anchors_of_its_mask() -> None:
    network = plan(
        "[convolutional]\nfilters=12\nactivation=linear\n"
        "[yolo]\nclasses=1\nnum=3\nmask=2,0\nanchors=1,2, 3,4, 5,6\n"
    )

    assert network.heads[0].anchors == ((5.0, 6.0), (1.0, 2.0))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ("[lstm]\noutput=3\n", r"x\.cfg:5: \[lstm\] is not supported: expected one of"),
        ("[convolutional]\nfilters=3\nspinning=1\n", r"x\.cfg:7: .* spinning= is not supported"),
        ("[convolutional]\nactivation=mush\n", r"x\.cfg:6: .*activation=mush: expected one of"),
        ("[convolutional]\nfilters=-1\n", r"filters=-1: expected a positive whole number"),
        ("[convolutional]\nfilters=4\ngroups=2\n", "divisor of 3 and 4 channels"),
        ("[convolutional]\nsize=99\nactivation=linear\n", "empty output"),
        ("[route]\nlayers=-1\n", r"expected layers before this one"),
        ("[route]\n", r"x\.cfg:5: \[route\] needs layers="),
        (
            "[maxpool]\nstride=2\n[shortcut]\nfrom=0\n" + HEAD[:-1] + "\n[shortcut]\nfrom=0\n",
            "from",
        ),
        ("[upsample]\nstride=2\n", r"no \[yolo\] layer"),
        ("[yolo]\nclasses=1\nnum=1\nanchors=5,5\n", "= 6 filters in the layer before, found 3"),
        ("[yolo]\nclasses=1\nnum=2\nanchors=5,5\n", "4 numbers for num=2, found 2"),
        ("[yolo]\nclasses=1\nnum=1\nmask=1\nanchors=5,5\n", "anchor numbers from 0 to 0"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_line(layers: str, message: str) -> None:
    with pytest.raises(CfgError, match=message):
        plan(layers)


def test_routes_of_different_sizes_are_refused() -> None:
    with pytest.raises(CfgError, match="outputs of one size, but layer 0 has 3x32x64"):
        plan(f"[maxpool]\nsize=1\nstride=1\n[maxpool]\nstride=2\n[route]\nlayers=0,1\n{HEAD}")


def test_heads_must_score_the_same_classes() -> None:
    other = HEAD.replace("filters=6", "filters=7").replace("classes=1", "classes=2")

    with pytest.raises(CfgError, match="classes=2, an earlier head has 1"):
        plan(f"{HEAD}[route]\nlayers=0\n{other}")


@pytest.mark.parametrize("net", ["[net]\nwidth=64\nheight=32\n", NET.replace("64", "0")])
def test_a_net_without_a_usable_input_is_refused(net: str) -> None:
    with pytest.raises(CfgError, match="expected channels=3 and a positive width and height"):
        plan(HEAD, net)
