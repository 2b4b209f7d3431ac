"""Decide whether a network needs AlexeyAB's fork of Darknet or runs in pjreddie's of 2018.

Both read the same files; docs/decisions/005-two-darknets.md lists where their results differ.
"""

from __future__ import annotations

from elastic_yolo.detector.darknet.layers import (
    Convolutional,
    Head,
    Layer,
    Multiply,
    Network,
    Nms,
    PassThrough,
    Pool,
    Route,
    Shortcut,
    SpaceToDepth,
)

_ACTIVATIONS = frozenset({"linear", "leaky", "relu", "elu", "tanh", "logistic"})


def needs_fork(network: Network) -> bool:
    """Return whether any layer exists in the fork only."""
    return any(is_fork_only(layer) for layer in network.layers)


def is_fork_only(layer: Layer) -> bool:
    """Return whether the layer, or an option of it, exists in the fork only."""
    fork_only = False
    match layer:
        case Convolutional():
            # forward_convolutional_layer of 2018 ignores the stride of a 1x1 convolution.
            strided = layer.size == 1 and layer.stride != (1, 1)
            fork_only = strided or layer.dilation != 1 or layer.stride[0] != layer.stride[1]
        case Pool():
            fork_only = layer.average or layer.stride[0] != layer.stride[1]
        case Route():
            fork_only = layer.groups != 1
        case Shortcut():
            fork_only = len(layer.sources) != 1
        case Multiply() | SpaceToDepth():
            fork_only = True
        case PassThrough():
            fork_only = layer.fork_only
        case Head():
            fork_only = (
                layer.nms is not Nms.IOU
                or layer.new_coords
                or layer.gaussian
                or layer.scale_xy != 1
            )
    return fork_only or getattr(layer, "activation", "linear") not in _ACTIVATIONS
