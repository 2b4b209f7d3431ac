"""OpenCV 4's importer of Darknet's files: the inputs and the outputs of the heads."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from elastic_yolo.detector.boxes import Floats, Pixels
from elastic_yolo.detector.darknet.cfg import read_cfg
from elastic_yolo.detector.darknet.layers import Head, Network
from elastic_yolo.detector.darknet.plan import plan_network
from elastic_yolo.detector.heads import Candidates

Refusal = cv2.error
"""OpenCV's error for an unsupported layer or option; the message has the reason."""


class OpenCvDarknet:
    """A network in OpenCV, for one picture at a time."""

    def __init__(self, cfg: Path, weights: Path, threads: int) -> None:
        """Load a network; raises Refusal."""
        self._network = plan_network(read_cfg(cfg))
        cv2.setNumThreads(threads)
        self._net = cv2.dnn.readNetFromDarknet(str(cfg), str(weights))
        # Fused layers would have no output of their own.
        self._net.enableFusion(False)
        # What enters a head is turned for it from planes to pixels; what it puts out is named last.
        turned = [name for name in self._net.getLayerNames() if name.startswith("permute_")]
        self._names = [*turned, *self._net.getUnconnectedOutLayersNames()]
        self._outputs: list[Floats] = []

    def raw_head_inputs(self, image: Pixels) -> list[Floats]:
        """Return the input of each head: (anchors, values, rows, columns) float32.

        `image` is (height, width, 3) RGB from 0 to 255.
        """
        size = self._network.input
        self._net.setInput(cv2.dnn.blobFromImage(image, 1 / 255))
        self._outputs = [np.asarray(output) for output in self._net.forward(self._names)]
        heads = self._network.heads
        if image.shape[:2] != (size.height, size.width) or len(self._outputs) != 2 * len(heads):
            raise ValueError(f"{image.shape[:2]} for {size}, {len(self._outputs)} outputs")
        return [
            np.ascontiguousarray(output[0].transpose(2, 0, 1)).reshape(_shape(head))
            for head, output in zip(heads, self._outputs, strict=False)
        ]

    def candidates(self, threshold: float) -> Candidates:
        """Return the heads' detections in the last picture, in pixels of the network."""
        heads = self._network.heads
        rows = np.concatenate(
            [
                output.reshape(-1, 5 + self._network.classes)
                for output in self._outputs[len(heads) :]
            ]
        )
        rows = rows[rows[:, 4] > threshold]
        size = self._network.input
        boxes = rows[:, :4] * np.array([size.width, size.height] * 2, np.float32)
        centres, half = boxes[:, :2], boxes[:, 2:] / 2
        scores = np.where(rows[:, 5:] > threshold, rows[:, 5:], 0)
        return Candidates(np.hstack([centres - half, centres + half]), rows[:, 4], scores)


def _shape(head: Head) -> tuple[int, int, int, int]:
    return (len(head.anchors), head.values, head.output.height, head.output.width)


def write_for_opencv(network: Network, weights: Path) -> Path:
    """Write a second .weights file with which OpenCV normalizes as AlexeyAB's fork does.

    The fork divides by the root of the variance plus 1e-5, OpenCV by that of the variance plus 1e-6
    (`modules/dnn/src/darknet/darknet_io.cpp`, setBatchNorm). Over a hundred layers that would add
    up to a thousandth, and hide what is looked for.
    """
    header = 5  # of 20 bytes
    floats = np.fromfile(weights, "<f4")
    at = header
    for layer in network.convolutions:
        count = layer.output.channels
        if layer.batch_normalize:
            floats[at + 3 * count : at + 4 * count] += np.float32(9e-6)
        at += layer.float_count
    target = weights.with_suffix(".opencv")
    floats.tofile(target)
    return target
