"""Run a network with Darknet's own C code, as a reference for accuracy and speed.

The library supports the networks of 2018, runs in one thread regardless of `threads`, and reads the
model's .cfg and .weights instead of a graph.
"""

from __future__ import annotations

import numpy as np

from elastic_yolo.detector.boxes import Floats, Image
from elastic_yolo.detector.darknet.fork import is_fork_only
from elastic_yolo.detector.engines.base import Engine
from elastic_yolo.detector.engines.libdarknet import LibDarknet
from elastic_yolo.detector.errors import EngineError
from elastic_yolo.detector.model import Model


class DarknetEngine:
    """A network in libdarknet. The C code ends the process on what it treats as a fatal error."""

    name = "darknet"
    device = "cpu"
    precision = "fp32"
    batches = False

    def __init__(self, model: Model) -> None:
        """Load the model's files; raises EngineError without the library or for a newer layer."""
        for layer in model.network.layers:
            if is_fork_only(layer):
                raise EngineError(
                    f"darknet: {model.cfg.name}:{layer.line}: the C library does not support this "
                    "layer: use another engine"
                )
        self._library = LibDarknet(model.cfg, model.weights_file)

    def split(self, parts: int) -> list[Engine]:  # noqa: ARG002
        """Return no engines: a network in the C library has one state."""
        return []

    def execute(self, images: Image) -> list[Floats]:
        """Run a batch, picture by picture; see Engine.execute."""
        outputs = [self._library.raw_head_inputs(image) for image in images]
        heads = zip(*outputs, strict=True)
        # (anchors, values, rows, columns) becomes (anchors * values, rows, columns).
        return [np.stack([head.reshape(-1, *head.shape[2:]) for head in group]) for group in heads]
