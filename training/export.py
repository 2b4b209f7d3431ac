"""Write a network's weights in Darknet's format, and read them back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.network import EPSILON, Convolution, Network

DARKNET_EPSILON = 1e-6


def write_weights(network: Network, path: Path, seen: int) -> None:
    """Write float32 weights in layer order; `seen` is the number of pictures trained on."""
    header = np.array([0, 2, 0], "<i4").tobytes() + np.array([seen], "<u8").tobytes()
    parts = [part for layer in _convolutions(network) for part in _parts(layer)]
    path.write_bytes(header + b"".join(part.astype("<f4").tobytes() for part in parts))


def read_weights(network: Network, path: Path) -> int:
    """Load weights from `write_weights` or Darknet; return the number of pictures trained on."""
    content = path.read_bytes()
    numbers = np.frombuffer(content, "<f4", offset=20).copy()
    position = 0
    for layer in _convolutions(network):
        for tensor in _tensors(layer):
            part = torch.from_numpy(numbers[position : position + tensor.numel()])
            position += tensor.numel()
            with torch.no_grad():
                tensor.copy_(part.view_as(tensor))
        if layer.norm is not None:
            deviation = layer.norm.running_var.sqrt() + DARKNET_EPSILON
            layer.norm.running_var.copy_(deviation.square() - EPSILON)
    if position != len(numbers):
        raise ValueError(f"{path}: {len(numbers)} numbers, the .cfg needs {position}")
    return int.from_bytes(content[12:20], "little")


def _convolutions(network: Network) -> list[Convolution]:
    return [layer for layer in network.layers if isinstance(layer, Convolution)]


def _tensors(layer: Convolution) -> list[Tensor]:
    """Return the tensors of a layer in the order of the file."""
    if layer.norm is None:
        return [layer.conv.bias, layer.conv.weight]
    norm = layer.norm
    return [norm.bias, norm.weight, norm.running_mean, norm.running_var, layer.conv.weight]


def _parts(layer: Convolution) -> list[NDArray[np.float32]]:
    """Return a layer's numbers; the variance such that Darknet's sqrt(v) + 1e-6 is ours."""
    parts = [tensor.detach().float().contiguous().numpy() for tensor in _tensors(layer)]
    if layer.norm is not None:
        parts[3] = (np.sqrt(parts[3] + EPSILON) - DARKNET_EPSILON) ** 2
    return parts
