"""Whose network is it: pjreddie's of 2018, or one that only AlexeyAB's fork of Darknet runs?

Both read the same files and mean the same, save for what docs/decisions/005-two-darknets.md says.
"""

from __future__ import annotations

from elastic_yolo.detector.darknet.layers import (
    Convolutional,
    Head,
    Layer,
    Multiply,
    Network,
    Nms,
    Pool,
    Route,
    Shortcut,
    SpaceToDepth,
)

_ACTIVATIONS = frozenset({"linear", "leaky", "relu", "elu", "tanh", "logistic"})


def needs_fork(network: Network) -> bool:
    """Return whether any layer is newer than pjreddie's Darknet."""
    return any(is_newer(layer) for layer in network.layers)


def is_newer(layer: Layer) -> bool:
    """Return whether the layer uses what only the fork has."""
    newer = False
    match layer:
        case Convolutional():
            # forward_convolutional_layer of 2018 forgets the stride of a window of one pixel.
            strided = layer.size == 1 and layer.stride != (1, 1)
            newer = strided or layer.dilation != 1 or layer.stride[0] != layer.stride[1]
        case Pool():
            newer = layer.average or layer.stride[0] != layer.stride[1]
        case Route():
            newer = layer.groups != 1
        case Shortcut():
            newer = len(layer.sources) != 1
        case Multiply() | SpaceToDepth():
            newer = True
        case Head():
            newer = (
                layer.nms is not Nms.IOU
                or layer.new_coords
                or layer.gaussian
                or layer.scale_xy != 1
            )
    return newer or getattr(layer, "activation", "linear") not in _ACTIVATIONS
