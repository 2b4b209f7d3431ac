"""How sure a measured loss of mAP is: a bootstrap over the pictures.

Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13: the percentile interval
of the loss in samples of the pictures, drawn with replacement. Both precisions are measured on the
same samples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from elastic_yolo.detector.accuracy import ClassMatches, match_classes
from elastic_yolo.detector.boxes import Floats

ENOUGH_PICTURES = 50
"""With fewer pictures one object changes the mAP by more than the usual budget."""

_SAMPLES = 500
_INTERVAL = (2.5, 97.5)
# Of detections times samples in one array: 40 MB of float64.
_MOST_VALUES = 5_000_000


def loss_interval(
    reference: list[Floats], found: list[Floats], truth: list[Floats]
) -> tuple[float, float]:
    """Return the 95 % interval of the mAP that `found` loses against `reference`.

    Shapes as in `mean_average_precision`.
    """
    # A fixed seed: the same detections give the same interval.
    random = np.random.default_rng(0)
    pictures = len(truth)
    drawn = random.multinomial(pictures, np.full(pictures, 1 / pictures), size=_SAMPLES)
    best, other = (_sampled_map(match_classes(one, truth), drawn) for one in (reference, found))
    low, high = np.percentile(best - other, _INTERVAL)
    return float(low), float(high)


def _sampled_map(classes: list[ClassMatches], drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mAP of every sample; `drawn` is (samples, pictures): how often each occurs."""
    total = np.zeros(len(drawn))
    occurring = np.zeros(len(drawn))
    for one in classes:
        rows = max(_MOST_VALUES // max(len(one.scores), 1), 1)
        for first in range(0, len(drawn), rows):
            part = slice(first, first + rows)
            precision, objects = one.sampled_precision(drawn[part])
            total[part] += precision
            occurring[part] += objects > 0
    # A sample may have no object at all, like pictures without any.
    means: NDArray[np.float64] = np.where(occurring > 0, total / np.maximum(occurring, 1), 1.0)
    return means
