"""Compare this project with an oracle on one network: what enters its heads, and its boxes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from bench.oracle.opencv import OpenCvDarknet, write_for_opencv
from elastic_yolo.detector.boxes import CLASS, SCORE, Floats, Pixels, centre_boxes
from elastic_yolo.detector.darknet.cfg import read_cfg
from elastic_yolo.detector.darknet.fork import needs_fork
from elastic_yolo.detector.darknet.layers import Network
from elastic_yolo.detector.darknet.plan import plan_network
from elastic_yolo.detector.darknet.weights import read_weights
from elastic_yolo.detector.engines.libdarknet import DarknetBox, LibDarknet
from elastic_yolo.detector.engines.openvino import OpenVinoEngine
from elastic_yolo.detector.graph import build_graph
from elastic_yolo.detector.heads import Candidates, decode_heads
from elastic_yolo.detector.nms import suppress

IOU = 0.45
# A box that one side has and the other has not may differ by no more than this in score from the
# threshold; a pair by no more in score and in pixels.
SCORE_TOLERANCE = 0.005
PIXEL_TOLERANCE = 1.0
HEADS_TOLERANCE = 1e-3
# Every cell proposes something with random weights: the best are enough, and few enough to pair.
_BEST = 500


@dataclass(frozen=True)
class Comparison:
    """What came out: differences are the largest, `heads` relative to the largest magnitude.

    `boxes` are the oracle's, `unpaired` those of either side that the other lacks.
    """

    network: Network
    oracle: str
    heads: float
    boxes: int
    unpaired: int
    pixels: float
    scores: float

    @property
    def agrees(self) -> bool:
        """Whether the differences are those of float32 added in another order, and no more."""
        return self.heads <= HEADS_TOLERANCE and not self.unpaired


def compare(cfg: Path, weights: Path, picture: Pixels, threads: int) -> Comparison:
    """Compare on one picture of the network's size, (height, width, 3) RGB.

    The oracle is Debian's library where it knows every layer, and OpenCV where it does not.
    """
    network = plan_network(read_cfg(cfg))
    engine = OpenVinoEngine(build_graph(network, read_weights(weights, network)), threads=threads)
    outputs = [output[0] for output in engine.execute(picture[np.newaxis])]
    threshold = _threshold(decode_heads(network, outputs, 0.01))
    ours = _named(network, decode_heads(network, outputs, threshold))
    if needs_fork(network):
        name = f"OpenCV {cv2.__version__}"
        theirs, found = _ask_opencv(cfg, weights, picture, threshold, threads)
    else:
        name = "libdarknet"
        theirs, found = _ask_libdarknet(cfg, weights, picture, threshold)
    pairs, unpaired = pair(ours, found, threshold)
    return Comparison(
        network=network,
        oracle=name,
        heads=max(map(_relative, outputs, theirs)),
        boxes=len(found),
        unpaired=unpaired,
        pixels=max((distance(*both) for both in pairs), default=0.0),
        scores=max((abs(one[1] - other[1]) for one, other in pairs), default=0.0),
    )


Answer = tuple[list[Floats], list[DarknetBox]]


def _ask_libdarknet(cfg: Path, weights: Path, picture: Pixels, threshold: float) -> Answer:
    with LibDarknet(cfg, weights) as library:
        return library.raw_head_inputs(picture), library.last_boxes(threshold, IOU)


def _ask_opencv(
    cfg: Path, weights: Path, picture: Pixels, threshold: float, threads: int
) -> Answer:
    network = plan_network(read_cfg(cfg))
    oracle = OpenCvDarknet(cfg, write_for_opencv(network, weights), threads)
    theirs = oracle.raw_head_inputs(picture)
    return theirs, _named(network, oracle.candidates(threshold))


def _threshold(candidates: Candidates) -> float:
    """Return the score that so many boxes exceed before suppression."""
    scores = np.sort(candidates.scores, axis=None)
    return float(scores[-min(_BEST, scores.size)])


def _named(network: Network, candidates: Candidates) -> list[DarknetBox]:
    """Return what is left after suppression, as LibDarknet does."""
    rows = suppress(candidates, IOU, network.heads[-1])
    return [
        (int(row[CLASS]), float(row[SCORE]), box)
        for row, box in zip(rows, centre_boxes(rows), strict=True)
    ]


def _relative(mine: Floats, theirs: Floats) -> float:
    return float(np.abs(mine.reshape(theirs.shape) - theirs).max() / np.abs(theirs).max())


def pair(
    ours: list[DarknetBox], theirs: list[DarknetBox], threshold: float
) -> tuple[list[tuple[DarknetBox, DarknetBox]], int]:
    """Pair every box with the nearest of its class on the other side.

    Returns the pairs, and how many boxes of either side are without one, although their score
    is not at the threshold.
    """
    pairs, left, alone = [], list(theirs), []
    for found in ours:
        near = [
            other
            for other in left
            if other[0] == found[0]
            and abs(other[1] - found[1]) <= SCORE_TOLERANCE
            and distance(found, other) <= PIXEL_TOLERANCE
        ]
        if near:
            nearest = min(near, key=lambda other: distance(found, other))
            left.remove(nearest)
            pairs.append((found, nearest))
        else:
            alone.append(found)
    return pairs, sum(found[1] > threshold + SCORE_TOLERANCE for found in (*alone, *left))


def distance(one: DarknetBox, other: DarknetBox) -> float:
    """Return the largest difference of centre, width and height in pixels."""
    return max(abs(a - b) for a, b in zip(one[2], other[2], strict=True))
