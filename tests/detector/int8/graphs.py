"""Graphs of small networks with random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from elastic_yolo.detector.darknet.cfg import parse_cfg
from elastic_yolo.detector.darknet.layers import Network
from elastic_yolo.detector.darknet.plan import plan_network
from elastic_yolo.detector.darknet.weights import read_weights
from elastic_yolo.detector.graph import build_graph
from tests.support.tiny import write_weights

HEAD = "[convolutional]\nfilters=7\nactivation=linear\n[yolo]\nclasses=2\nnum=1\nanchors=5,5\n"


def convolution(filters: int, options: str = "size=3\npad=1\n", activation: str = "leaky") -> str:
    """Return a section of a .cfg."""
    return f"[convolutional]\nfilters={filters}\n{options}activation={activation}\n"


def write_graph(layers: str, folder: Path, size: int = 32) -> tuple[onnx.ModelProto, Network]:
    """Return graph and network of a .cfg without its [net] section."""
    text = f"[net]\nwidth={size}\nheight={size}\nchannels=3\n{layers}"
    network = plan_network(parse_cfg(text))
    count = sum(layer.float_count for layer in network.convolutions)
    values = np.random.default_rng(0).normal(0, 0.3, count)
    write_weights(folder / "random.weights", values)
    return build_graph(network, read_weights(folder / "random.weights", network)), network


def noise(count: int, size: int = 32) -> list[np.ndarray]:
    """Return random pictures, (size, size, 3) uint8 each."""
    pictures = np.random.default_rng(1).integers(0, 256, (count, size, size, 3))
    return list(pictures.astype(np.uint8))
