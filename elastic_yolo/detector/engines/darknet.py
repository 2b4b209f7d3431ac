"""Run a network with Darknet's own C code: to compare with, and to see what it costs.

It knows the networks of 2018. It has one thread, whatever it is given, and takes its own .cfg and
.weights instead of a graph.
"""

from __future__ import annotations

import numpy as np

from elastic_yolo.detector.boxes import Floats, Image
from elastic_yolo.detector.darknet.fork import is_newer
from elastic_yolo.detector.engines.base import Engine
from elastic_yolo.detector.engines.libdarknet import LibDarknet
from elastic_yolo.detector.errors import EngineError
from elastic_yolo.detector.model import Model


class DarknetEngine:
    """A network in libdarknet. The process ends if the C code meets what it takes for an error."""

    name = "darknet"
    device = "cpu"
    precision = "fp32"
    batches = False

    def __init__(self, model: Model) -> None:
        """Load the model's own files; raises EngineError if the library or a layer is unknown."""
        for layer in model.network.layers:
            if is_newer(layer):
                raise EngineError(
                    f"darknet: the layer of line {layer.line} of {model.cfg.name} is newer than "
                    "the C library, which would run it wrongly"
                )
        self._library = LibDarknet(model.cfg, model.weights_file)

    def split(self, parts: int) -> list[Engine]:  # noqa: ARG002
        """Return nothing: the C library has one state for each network."""
        return []

    def execute(self, images: Image) -> list[Floats]:
        """Run a batch, picture by picture; see Engine.execute."""
        answers = [self._library.raw_head_inputs(image) for image in images]
        heads = zip(*answers, strict=True)
        # (anchors, values, rows, columns) there, both in one dimension here.
        return [np.stack([head.reshape(-1, *head.shape[2:]) for head in group]) for group in heads]
