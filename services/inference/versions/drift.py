"""What versions are shown and find in production, and how far that is from what they were made for.

Exported when somebody asks for the metrics; a picture costs a few hundredths of a millisecond.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from elastic_yolo.detector.boxes import SCORE, Floats
from elastic_yolo.detector.profile import EDGES, Counts, Profile
from services.inference.protocol import InferRequest

# The index speaks of the last thousand pictures, at least of two hundred: it is noise with fewer.
_BLOCK = 200
_BLOCKS = 5

Key = tuple[str, str, str]
"""Model, version and digest: a version may get other content under the same name."""

_MEANINGS = {
    "score": ("elastic_yolo_detection_score", "Scores of the objects found."),
    "boxes": ("elastic_yolo_picture_detections", "Objects found in a picture."),
    "size": ("elastic_yolo_detection_size_ratio", "Root of a box's part of the network's input."),
    "brightness": ("elastic_yolo_picture_brightness", "Mean pixel value, letterboxed, 0 to 255."),
}


class DriftWatch:
    """Counts what one version is shown and finds."""

    def __init__(
        self, labels: Sequence[str], threshold: float, iou: float, reference: Profile | None
    ) -> None:
        """Compare with `reference`, counting what the model's own `threshold` and `iou` give."""
        self.labels = labels
        self._threshold = threshold
        self._iou = iou
        self._reference = reference
        self._before = Profile(len(labels))
        self._blocks: deque[Profile] = deque([Profile(len(labels))], maxlen=_BLOCKS)

    def observe(self, request: InferRequest, found: list[Floats]) -> None:
        """Count an answer, unless its caller wanted fewer or other objects than the model gives."""
        if request.iou is not None and request.iou != self._iou:
            return
        if request.threshold is not None:
            if request.threshold > self._threshold:
                return
            found = [rows[rows[:, SCORE] >= self._threshold] for rows in found]
        latest = self._blocks[-1]
        latest.add(request.images, found)
        if latest.pictures >= _BLOCK:
            self._before.merge(latest)
            self._blocks.append(Profile(len(self.labels)))

    def total(self) -> Profile:
        """Return what all pictures were."""
        return self._together([self._before, self._blocks[-1]])

    def window(self) -> Profile:
        """Return what the latest pictures were."""
        return self._together(self._blocks)

    def distances(self) -> dict[str, float]:
        """Return the index of each feature; nothing without a reference, or too early."""
        window = self.window()
        if self._reference is None or window.pictures < _BLOCK:
            return {}
        return window.distances(self._reference)

    def _together(self, profiles: Iterable[Profile]) -> Profile:
        together = Profile(len(self.labels))
        for profile in profiles:
            together.merge(profile)
        return together


class DriftCollector(Collector):
    """Exports the counts of all versions that are loaded."""

    def __init__(self, watches: Callable[[], Mapping[Key, DriftWatch]]) -> None:
        """Ask `watches` for the counts of each version whenever the metrics are asked for."""
        self._watches = watches

    def describe(self) -> Iterable[Metric]:
        """Return nothing: what there is depends on the models."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        keys = ("model", "version", "digest")
        distances = GaugeMetricFamily(
            "elastic_yolo_drift_psi",
            "Population stability index of the latest pictures against the version's reference.",
            labels=(*keys, "feature"),
        )
        pictures = GaugeMetricFamily(
            "elastic_yolo_drift_pictures",
            "Pictures that the index speaks of, a thousand or so once there were as many.",
            labels=keys,
        )
        objects = CounterMetricFamily(
            "elastic_yolo_detections", "Objects found, by label.", labels=(*keys, "label")
        )
        histograms = {
            name: HistogramMetricFamily(metric, meaning, labels=keys)
            for name, (metric, meaning) in _MEANINGS.items()
        }
        for key, watch in self._watches().items():
            pictures.add_metric(key, watch.window().pictures)
            for feature, distance in watch.distances().items():
                distances.add_metric((*key, feature), distance)
            counts = watch.total().counts
            by_label: Counter[str] = Counter()
            for label, count in zip(watch.labels, counts["class"].tolist(), strict=True):
                # Two classes may have one name.
                by_label[label] += count
            for label, count in by_label.items():
                objects.add_metric((*key, label), count)
            for name, histogram in histograms.items():
                histogram.add_metric(key, *_buckets(EDGES[name], counts[name]))
        yield from (distances, pictures, objects, *histograms.values())


def _buckets(edges: tuple[float, ...], counts: Counts) -> tuple[list[tuple[str, float]], None]:
    """Return cumulative buckets as Prometheus has them, and no sum."""
    below = np.cumsum(counts).tolist()
    names = [*(str(float(edge)) for edge in edges), "+Inf"]
    return list(zip(names, below, strict=True)), None
