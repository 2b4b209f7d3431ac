"""Data drift: how far the pictures and detections in production are from a version's reference.

Counting takes a few hundredths of a millisecond per picture; the index is computed at each scrape.
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

from elastic_yolo.detector.boxes import SCORE, Floats, Image
from elastic_yolo.detector.profile import EDGES, Counts, Profile

# The index covers the latest 800 to 1000 pictures, in blocks; with fewer than 200 it is noise.
_BLOCK = 200
_BLOCKS = 5

VersionKey = tuple[str, str, str]
"""Model, version and digest: the files behind a version's name may change."""

_HISTOGRAMS = {
    "score": ("elastic_yolo_detection_score", "Scores of detected objects."),
    "boxes": ("elastic_yolo_picture_detections", "Detected objects per picture."),
    "size": (
        "elastic_yolo_detection_size_ratio",
        "Square root of a box's fraction of the network's input area.",
    ),
    "brightness": (
        "elastic_yolo_picture_brightness",
        "Mean pixel value of a picture in the network's input, 0 to 255.",
    ),
}


class DriftWatch:
    """Histograms of the pictures that one version receives and of its detections."""

    def __init__(
        self, labels: Sequence[str], threshold: float, iou: float, reference: Profile | None
    ) -> None:
        """Compare with `reference`; `threshold` and `iou` are the model's own."""
        self.labels = labels
        self._threshold = threshold
        self._iou = iou
        self._reference = reference
        self._before = Profile(len(labels))
        self._blocks: deque[Profile] = deque([Profile(len(labels))], maxlen=_BLOCKS)

    def record_prediction(
        self,
        images: Image,
        detections: list[Floats],
        *,
        threshold: float | None = None,
        iou: float | None = None,
    ) -> None:
        """Count the pictures of a request and their detections, one (k, 6) array each.

        A request with a higher threshold than the model's, or with another iou, is not counted: its
        detections are not those of the model's own settings.
        """
        if iou is not None and iou != self._iou:
            return
        if threshold is not None:
            if threshold > self._threshold:
                return
            detections = [rows[rows[:, SCORE] >= self._threshold] for rows in detections]
        latest = self._blocks[-1]
        latest.add(images, detections)
        if latest.pictures >= _BLOCK:
            self._before.merge(latest)
            self._blocks.append(Profile(len(self.labels)))

    def total(self) -> Profile:
        """Return the histograms of all pictures."""
        return self._merge([self._before, self._blocks[-1]])

    def window(self) -> Profile:
        """Return the histograms of the latest pictures, which the index covers."""
        return self._merge(self._blocks)

    def distances(self) -> dict[str, float]:
        """Return the index of each feature; empty without a reference or with too few pictures."""
        window = self.window()
        if self._reference is None or window.pictures < _BLOCK:
            return {}
        return window.distances(self._reference)

    def _merge(self, profiles: Iterable[Profile]) -> Profile:
        merged = Profile(len(self.labels))
        for profile in profiles:
            merged.merge(profile)
        return merged


class DriftCollector(Collector):
    """Exports the counts of all loaded versions at each scrape."""

    def __init__(self, watches: Callable[[], Mapping[VersionKey, DriftWatch]]) -> None:
        """Call `watches` at each scrape for the counts of each loaded version."""
        self._watches = watches

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the metrics depend on the models."""
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
            "Pictures that the population stability index covers, at most 1000.",
            labels=keys,
        )
        objects = CounterMetricFamily(
            "elastic_yolo_detections", "Detected objects by label.", labels=(*keys, "label")
        )
        histograms = {
            name: HistogramMetricFamily(metric, meaning, labels=keys)
            for name, (metric, meaning) in _HISTOGRAMS.items()
        }
        for key, watch in self._watches().items():
            pictures.add_metric(key, watch.window().pictures)
            for feature, distance in watch.distances().items():
                distances.add_metric((*key, feature), distance)
            counts = watch.total().counts
            by_label: Counter[str] = Counter()
            for label, count in zip(watch.labels, counts["class"].tolist(), strict=True):
                # Several classes may have the same name.
                by_label[label] += count
            for label, count in by_label.items():
                objects.add_metric((*key, label), count)
            for name, histogram in histograms.items():
                histogram.add_metric(key, *_buckets(EDGES[name], counts[name]))
        yield from (distances, pictures, objects, *histograms.values())


def _buckets(edges: tuple[float, ...], counts: Counts) -> tuple[list[tuple[str, float]], None]:
    """Return Prometheus' cumulative buckets, and no sum."""
    below = np.cumsum(counts).tolist()
    names = [*(str(float(edge)) for edge in edges), "+Inf"]
    return list(zip(names, below, strict=True)), None
