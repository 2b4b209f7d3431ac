"""Layer shapes as in Darknet, and errors for inconsistent networks."""

from __future__ import annotations

from pathlib import Path

import pytest

from elastic_yolo.detector.darknet.cfg import parse_cfg
from elastic_yolo.detector.darknet.fork import needs_fork
from elastic_yolo.detector.darknet.layers import Convolutional, Network, Nms, Pool, Shape
from elastic_yolo.detector.darknet.plan import plan_network
from elastic_yolo.detector.errors import CfgError

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

    assert isinstance(layer, Pool)
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
        ("[convolutional]\nfilters=3\nsway=1\n", r"x\.cfg:7: .* sway=1 is not supported"),
        ("[convolutional]\nfilters=3\nshare_index=0\n", "share_index=0 is not supported"),
        ("[convolutional]\nactivation=mush\n", r"x\.cfg:6: .*activation=mush: expected one of"),
        ("[convolutional]\nfilters=-1\n", r"filters=-1: expected a positive whole number"),
        ("[convolutional]\nfilters=4\ngroups=2\n", "divisor of 3 and 4 channels"),
        ("[convolutional]\nsize=99\nactivation=linear\n", "empty output"),
        ("[route]\nlayers=-1\n", r"expected layers before this one"),
        ("[route]\n", r"x\.cfg:5: \[route\] needs layers="),
        (
            "[maxpool]\nsize=1\n[maxpool]\nstride_x=2\nstride_y=1\n[shortcut]\nfrom=0\n",
            "layer 0 has 3x32x64",
        ),
        (
            "[maxpool]\nsize=1\n[maxpool]\nstride=2\n[shortcut]\nfrom=0,-1\n",
            "layer 0 has 3x32x64",
        ),
        ("[maxpool]\nsize=1\n[route]\nlayers=0\ngroups=2\n", "divisor of the 3 channels of 0"),
        ("[maxpool]\nsize=1\n[route]\nlayers=0\ngroups=3\ngroup_id=3\n", "from 0 to 2"),
        ("[maxpool]\nsize=1\n[sam]\nfrom=0\n[avgpool]\n[sam]\nfrom=0\n", "shape 3x1x1"),
        ("[maxpool]\nsize=1\n[scale_channels]\nfrom=0\n", "factors of shape 3x1x1 before it"),
        ("[reorg]\nstride=5\n", "divisor of 32 and 64"),
        ("[reorg]\nstride=2\n", "a number whose square divides 3 channels"),
        ("[reorg3d]\nstride=5\n", "divisor of 32 and 64"),
        ("[maxpool]\nsize=1\n[shortcut]\nfrom=0\nactivation=hard_mish\n", "=hard_mish: expected"),
        ("[maxpool]\nsize=1\n[sam]\nfrom=0\nactivation=mish\n", "activation=mish: expected"),
        ("[maxpool]\nsize=1\n[sam]\nfrom=0,0\n", "from=0,0: expected one layer number"),
        ("[convolutional]\nsize=3\ndilation=2\nactivation=relu\n", "Darknet computes two sizes"),
        ("[convolutional]\nsize=1\npadding=1\nactivation=relu\n", "0 for a window of one pixel"),
        ("[Gaussian_yolo]\nclasses=1\nnum=1\nanchors=5,5\n", r"x \(9 \+ 1 classes\) = 10 filters"),
        (
            "[yolo]\nclasses=1\nnum=1\nanchors=5,5\nnms_kind=soft\n",
            "cornersnms, greedynms, diounms",
        ),
        ("[convolutional]\nxnor=1\n", r"xnor=1 is not supported"),
        ("[convolutional]\ndontload=1\n", r"dontload=1 is not supported"),
        ("[convolutional]\ndontloadscales=1\n", r"dontloadscales=1 is not supported"),
        ("[shortcut]\nfrom=-1\nweights_type=per_channel\n", "weights_type=per_channel is not"),
        ("[region]\nclasses=1\nnum=1\ntree=9k.tree\n", r"tree=9k\.tree is not supported"),
        ("[upsample]\nstride=2\n", r"no \[yolo\] or \[region\] layer"),
        ("[yolo]\nclasses=1\nnum=1\nanchors=5,5\n", "= 6 filters in the layer before, found 3"),
        ("[yolo]\nclasses=1\nnum=2\nanchors=5,5\n", "4 numbers for num=2, found 2"),
        ("[yolo]\nclasses=1\nnum=1\nmask=1\nanchors=5,5\n", "anchor numbers from 0 to 0"),
    ],
)
def test_inconsistent_layers_are_refused_with_the_line(layers: str, message: str) -> None:
    with pytest.raises(CfgError, match=message):
        plan(layers)


def test_training_options_are_ignored() -> None:
    network = plan(
        "[convolutional]\nfilters=6\nactivation=linear\nxnor=0\nstopbackward=800\ndontload=0\n"
        "[dropout]\nprobability=.5\n"
        "[yolo]\nclasses=1\nnum=1\nanchors=5,5\niou_loss=ciou\nresize=1.5\nmax_delta=2\n"
        "embedding_layer=-4\n",
        NET + "mosaic=1\nletter_box=1\nema_alpha=0.9998\nmax_epochs=300\nseen=0\n",
    )

    assert network.heads[0].anchors == ((5.0, 5.0),)


def test_anchors_of_a_region_count_cells() -> None:
    """Two cells of 32 pixels; anchors of [yolo] are in pixels of the network's input."""
    network = plan(
        "[convolutional]\nfilters=6\nsize=1\nstride=32\nactivation=linear\n"
        "[region]\nclasses=1\nnum=1\nanchors=0.5,2\nsoftmax=1\n"
    )

    assert network.heads[0].anchors == ((16.0, 64.0),)
    assert network.heads[0].softmax


@pytest.mark.parametrize(
    ("options", "nms", "beta"),
    [
        ("", Nms.IOU, 0.6),
        ("nms_kind=cornersnms\nbeta_nms=0.9", Nms.IOU, 0.6),
        ("nms_kind=greedynms\nbeta_nms=0.9", Nms.DIOU, 0.6),
        ("nms_kind=diounms\nbeta_nms=0.9", Nms.DIOU, 0.9),
    ],
)
def test_a_head_defines_its_kind_of_nms(options: str, nms: Nms, beta: float) -> None:
    head = plan(f"{HEAD}{options}\n").heads[0]

    assert (head.nms, head.nms_beta) == (nms, beta)


@pytest.mark.parametrize(
    ("point", "beyond"), [("center", 0.0), ("left_top", 0.5), ("right_bottom", -0.5)]
)
def test_a_gaussian_head_has_nine_values_before_its_classes(point: str, beyond: float) -> None:
    text = HEAD.replace("filters=6", "filters=10").replace("[yolo]", "[Gaussian_yolo]")
    head = plan(f"{text}yolo_point={point}\nuc_normalizer=1.0\n").heads[0]

    assert (head.values, head.gaussian, head.centre_offset) == (10, True, beyond)
    assert head.network == Shape(3, 32, 64)


@pytest.mark.parametrize(
    "layers",
    [
        "[convolutional]\nsize=1\nstride=2\nactivation=leaky\n",
        "[convolutional]\nsize=3\npad=1\ndilation=2\nactivation=leaky\n",
        "[convolutional]\nactivation=mish\n",
        "[maxpool]\nstride_x=2\n",
        "[local_avgpool]\nsize=2\n",
        "[maxpool]\nsize=1\n[route]\nlayers=0\ngroups=3\n",
        "[maxpool]\nsize=1\n[shortcut]\nfrom=0,0\n",
        "[maxpool]\nsize=1\n[sam]\nfrom=0\n",
        "[reorg3d]\nstride=2\n",
    ],
)
def test_layers_that_pjreddies_darknet_lacks_need_the_fork(layers: str) -> None:
    assert needs_fork(plan(layers + HEAD))
    assert not needs_fork(plan(HEAD))


@pytest.mark.parametrize("option", ["new_coords=1", "scale_x_y=1.2", "nms_kind=diounms"])
def test_heads_that_pjreddies_darknet_lacks_need_the_fork(option: str) -> None:
    assert needs_fork(plan(f"{HEAD}{option}\n"))


def test_dilation_spreads_window_and_padding() -> None:
    """A 3x3 window with dilation 2 covers 5 pixels; pad=1 keeps the size."""
    layer = plan(
        f"[convolutional]\nfilters=4\nsize=3\npad=1\ndilation=2\nactivation=leaky\n{HEAD}"
    ).layers[0]

    assert isinstance(layer, Convolutional)
    assert (layer.output, layer.padding) == (Shape(4, 32, 64), 2)


def test_routes_of_different_sizes_are_refused() -> None:
    with pytest.raises(CfgError, match="outputs of one size, but layer 0 has 3x32x64"):
        plan(f"[maxpool]\nsize=1\nstride=1\n[maxpool]\nstride=2\n[route]\nlayers=0,1\n{HEAD}")


def test_heads_must_score_the_same_classes() -> None:
    other = HEAD.replace("filters=6", "filters=7").replace("classes=1", "classes=2")

    with pytest.raises(CfgError, match="classes=2, an earlier one has 1"):
        plan(f"{HEAD}[route]\nlayers=0\n{other}")


@pytest.mark.parametrize("net", ["[net]\nwidth=64\nheight=32\n", NET.replace("64", "0")])
def test_a_net_without_a_usable_input_is_refused(net: str) -> None:
    with pytest.raises(
        CfgError, match="expected channels=3, or 1 for grey pictures, and a positive"
    ):
        plan(HEAD, net)


@pytest.mark.parametrize(
    ("section", "line", "note"),
    [
        ("net", "show_receptive_field=1", None),
        ("convolutional", "name=before_head", "name=before_head has no effect"),
        ("convolutional", "note", "note without '=' has no effect: the default counts"),
        ("convolutional", "pad=", "pad= has no value: Darknet skips the line"),
        ("convolutional", "=1", "=1 has no effect"),
        ("convolutional", "size\xa0=3", "size\\xa0=3 has no effect"),
        ("convolutional", "n=\udcb5", "n=\\udcb5 has no effect"),
        ("convolutional", "dilation=1.5", "dilation: 1.5 is read as 1, as Darknet does"),
        ("convolutional", "stride=1;2", None),
        ("convolutional", "xnor=0 # no", None),
        ("maxpool", "pad=1", "pad=1 has no effect: Darknet has no such option here"),
        ("maxpool", "maxpool_depth=00", None),
        ("dropout", "probability=.5", None),
        ("yolo", "stretch=1", "stretch=1 has no effect"),
        ("yolo", "yolo_point=center", "yolo_point=center has no effect"),
    ],
)
def test_what_darknet_ignores_is_noted_and_changes_nothing(
    section: str, line: str, note: str | None
) -> None:
    before = f"[maxpool]\nsize=1\n[dropout]\n{HEAD}"
    text = (NET + before).replace(f"[{section}]\n", f"[{section}]\n{line}\n")

    found = plan_network(parse_cfg(text, Path("x.cfg")))

    assert [layer.output for layer in found.layers] == [one.output for one in plan(before).layers]
    at = text.split("\n").index(line) + 1
    assert len(found.notes) == (note is not None)
    assert all(one.startswith(f"x.cfg:{at}: [{section}] {note}") for one in found.notes)


def test_notes_are_bounded() -> None:
    network = plan(HEAD + "".join(f"own{i}=1\n" for i in range(1000)))

    assert len(network.notes) == 21
    assert network.notes[-1] == "and 980 more"


@pytest.mark.parametrize("activation", ["leaky#0.1", "leaky;", "Leaky", "leaky\x0c", ""])
def test_a_word_is_read_as_it_stands(activation: str) -> None:
    """For an unknown word Darknet would use relu, with a line on stderr among many."""
    with pytest.raises(CfgError, match=r"x\.cfg:6: \[conv\] .*expected one of linear, leaky"):
        plan(f"[conv]\nactivation={activation or '?'}\n{HEAD}")


@pytest.mark.parametrize("kind", ["empty", "silence"])
def test_empty_passes_its_input_through_and_belongs_to_the_fork(kind: str) -> None:
    network = plan(f"[{kind}]\n{HEAD}")

    assert network.layers[0].output == Shape(3, 32, 64)
    assert needs_fork(network)
    assert not needs_fork(plan(f"[dropout]\n{HEAD}"))
