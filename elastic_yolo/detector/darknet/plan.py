"""Turn the sections of a .cfg file into typed layers with known shapes.

Defaults and size formulas are Darknet's: `src/parser.c` and `src/*_layer.c` of pjreddie's code
(2018), and of AlexeyAB's fork for YOLOv4. An unsupported section or option is an error with its
line, because ignoring it would give wrong detections without a message. An option that Darknet
ignores is only noted.
"""

from __future__ import annotations

from collections.abc import Callable

from elastic_yolo.detector.darknet import plan_heads, plan_layers
from elastic_yolo.detector.darknet.cfg import Cfg, Section
from elastic_yolo.detector.darknet.layer_context import LayerContext
from elastic_yolo.detector.darknet.layers import Layer, Network, Shape
from elastic_yolo.detector.darknet.limits import check_limits
from elastic_yolo.detector.darknet.options import check_options
from elastic_yolo.detector.errors import CfgError, one_line

# 2 GB of float32 for one layer's output, ten times as much as the largest known detector has.
_MOST_VALUES = 2**29

# Each is a line of the log at every start.
_MOST_NOTES = 20

_READERS: dict[str, Callable[[Section, LayerContext], Layer]] = {
    "Gaussian_yolo": plan_heads.gaussian_yolo,
    "avgpool": plan_layers.global_average,
    "convolutional": plan_layers.convolutional,
    "dropout": plan_layers.pass_through,
    "empty": plan_layers.pass_through,
    "local_avgpool": plan_layers.pool,
    "maxpool": plan_layers.pool,
    "region": plan_heads.region,
    "reorg": plan_layers.reorg,
    "reorg3d": plan_layers.space_to_depth,
    "route": plan_layers.route,
    "sam": plan_layers.sam,
    "scale_channels": plan_layers.scale_channels,
    "shortcut": plan_layers.shortcut,
    "upsample": plan_layers.upsample,
    "yolo": plan_heads.yolo,
}


def plan_network(cfg: Cfg) -> Network:
    """Build and check every layer of a .cfg file.

    Raises CfgError for unknown sections, unsupported options, layers whose shapes do not fit, a
    network without a detection head, and a network that exceeds a limit of `limits.py`.
    """
    notes = check_options(cfg.net)
    shape = Shape(
        cfg.net.integer("channels", 0), cfg.net.integer("height", 0), cfg.net.integer("width", 0)
    )
    _check_size(cfg.net, shape)
    if shape.channels not in (1, 3) or shape.height < 1 or shape.width < 1:
        raise CfgError(
            f"{cfg.net.file}:{cfg.net.line}: [net] has input shape {shape}: expected channels=3, "
            "or 1 for grey pictures, and a positive width and height"
        )
    layers: list[Layer] = []
    for section in cfg.layers:
        reader = _READERS.get(section.kind)
        if reader is None:
            raise CfgError(
                f"{section.file}:{section.line}: [{section.written}] is not supported: "
                f"expected one of {', '.join(sorted(_READERS))}"
            )
        notes += check_options(section)
        previous = layers[-1].output if layers else shape
        layer = reader(section, LayerContext(len(layers), previous, shape, layers))
        _check_size(section, layer.output)
        layers.append(layer)
    network = Network(cfg.path.stem, shape, tuple(layers), _shortened(notes))
    _check_heads(network, cfg)
    check_limits(network, cfg.path.name)
    return network


def _shortened(notes: list[str]) -> tuple[str, ...]:
    more = len(notes) - _MOST_NOTES
    rest = (f"and {more:,} more",) if more > 0 else ()
    return (*map(one_line, notes[:_MOST_NOTES]), *rest)


def _check_size(section: Section, shape: Shape) -> None:
    if shape.channels * shape.height * shape.width > _MOST_VALUES:
        raise CfgError(
            f"{section.file}:{section.line}: [{section.written}] would output {shape} values: "
            f"expected at most {_MOST_VALUES:,}"
        )


def _check_heads(network: Network, cfg: Cfg) -> None:
    if not network.heads:
        raise CfgError(f"{cfg.path.name}: no [yolo] or [region] layer: not a detection network")
    if not network.convolutions:
        raise CfgError(f"{cfg.path.name}: no [convolutional] layer: a network without weights")
    for head in network.heads:
        if head.classes != network.classes:
            raise CfgError(
                f"{cfg.path.name}:{head.line}: this head has classes={head.classes}, "
                f"an earlier one has {network.classes}"
            )
