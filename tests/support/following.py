"""A model store, and the parts of the inference service that follow it, in this process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from elastic_yolo.detector.engines.choose import EngineOptions
from elastic_yolo.detector.model import Model
from elastic_yolo.store.layout import Layout
from elastic_yolo.store.reference import Reference
from services.common.observe.telemetry import Metrics
from services.inference.versions import version_loader
from services.inference.versions.channel_watcher import ChannelWatcher
from services.inference.versions.model_metrics import ModelMetrics
from services.inference.versions.model_source import parse_channels
from services.inference.versions.served_model import ServedModel
from services.inference.versions.version_loader import VersionLoader
from tests.support.versions import Versions


@dataclass
class Follower:
    """A store, what follows it, and the metrics that this exports."""

    store: Versions
    metrics: Metrics
    model_metrics: ModelMetrics
    loader: VersionLoader

    @classmethod
    def create(cls, folder: Path) -> Follower:
        """Return one with a store that has version 1, which finds squares, on channel stable."""
        store = Versions(folder)
        store.publish("1", "square")
        metrics = Metrics("inference")
        loader = VersionLoader(EngineOptions(threads=2), max_queue=9, max_batch=1)
        return cls(store, metrics, ModelMetrics(metrics), loader)

    def watcher(self, channel: str = "stable") -> ChannelWatcher:
        """Return a watcher that has not polled yet."""
        source = Reference(self.store.root, "tiny", channel)
        return ChannelWatcher(source, self.loader, self.model_metrics)

    def served(self, channels: str, outgoing_s: float = 0.0) -> ServedModel:
        """Return a model that is not loaded yet."""
        path = parse_channels(f"store:{self.store.root}/{channels}")
        return ServedModel(path, self.loader, self.model_metrics, outgoing_s)

    def channel_file(self, channel: str = "stable") -> Path:
        """Return the file that says where a channel points."""
        return Layout(self.store.root).channel("tiny", channel)

    def metric(self, name: str, **labels: str) -> float | None:
        """Return a sample's value, None if it is not exported."""
        return self.metrics.registry.get_sample_value(name, labels)


def make_unreadable(store: Versions, version: str) -> bytes:
    """Make a version's weights unreadable, for root as well, and return their content."""
    weights = store.folder(version) / "tiny.weights"
    content = weights.read_bytes()
    weights.unlink()
    weights.symlink_to(weights)
    return content


def make_readable(store: Versions, version: str, content: bytes) -> None:
    """Restore the weights of a version."""
    weights = store.folder(version) / "tiny.weights"
    weights.unlink()
    weights.write_bytes(content)


def record_loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which the id of every version is added when its load begins."""
    loads: list[str] = []
    real = version_loader.read_version

    def read(source: Path | Reference, identity: str) -> Model:
        loads.append(identity)
        return real(source, identity)

    monkeypatch.setattr(version_loader, "read_version", read)
    return loads
