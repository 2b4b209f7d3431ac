"""A channel's watcher, when what it finds in the store is not as it should be."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from elastic_yolo.detector.engines.base import Engine
from elastic_yolo.detector.engines.choose import Choice, EngineOptions
from elastic_yolo.detector.model import Model
from elastic_yolo.store.reference import Reference
from services.common.observe.logs import get_logger
from services.common.observe.telemetry import Metrics
from services.inference.versions import version_loader
from services.inference.versions.channel_watcher import ChannelWatcher
from services.inference.versions.model_metrics import ModelMetrics
from tests.support.following import Follower, make_readable, make_unreadable, record_loads


@pytest.fixture
def follower(tmp_path: Path) -> Follower:
    return Follower.create(tmp_path)


def test_unreadable_files_are_retried_less_and_less_often(
    follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At polls 1, 2, 4, 8, ... and then every 32, until they can be read."""
    follower.store.publish("2", "rhombus", channel=None)
    watcher = follower.watcher()
    watcher.start(0)
    content = make_unreadable(follower.store, "2")
    follower.store.point("2")
    loads = record_loads(monkeypatch)
    loaded_at = []
    for number in range(1, 100):
        before = len(loads)
        watcher.poll("tiny", optional=False)
        loaded_at += [number] if len(loads) > before else []
    make_readable(follower.store, "2", content)
    for _ in range(33):
        watcher.poll("tiny", optional=False)

    assert loaded_at == [1, 2, 4, 8, 16, 32, 64, 96]
    assert watcher.version is not None
    assert watcher.version.version == "2"
    assert watcher.refusal is None


def test_a_bad_version_is_loaded_once_even_if_its_channel_vanishes(
    follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = follower.watcher()
    watcher.start(0)
    follower.store.publish_bad("2", "weights")
    loads = record_loads(monkeypatch)
    reasons = []
    for missing in (False, True, False, True, False):
        content = follower.channel_file().read_bytes()
        if missing:
            follower.channel_file().unlink()
        watcher.poll("tiny", optional=False)
        assert watcher.refusal is not None
        reasons.append(watcher.refusal.reason)
        follower.channel_file().write_bytes(content)

    assert len(loads) == 1
    assert reasons == ["model", "store", "model", "store", "model"]


def test_a_process_started_with_unreadable_files_loads_them_later(follower: Follower) -> None:
    """It starts with the version before, and must not keep it for good."""
    follower.store.publish("2", "rhombus")
    content = make_unreadable(follower.store, "2")
    watcher = follower.watcher()
    started = watcher.start(0).version
    make_readable(follower.store, "2", content)
    watcher.poll("tiny", optional=False)

    assert started == "1"
    assert watcher.version is not None
    assert watcher.version.version == "2"


def test_an_unexpected_error_keeps_the_old_version_and_is_not_retried(
    follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = follower.watcher()
    old = watcher.start(0)
    follower.store.publish("2", "rhombus")

    def fail(*_: object) -> tuple[Engine, Choice]:
        raise ZeroDivisionError("in a library")

    monkeypatch.setattr(version_loader, "build_engine", fail)
    loads = record_loads(monkeypatch)
    for _ in range(3):
        watcher.poll("tiny", optional=False)

    assert watcher.version is old
    assert watcher.refusal is not None
    assert str(watcher.refusal) == "ZeroDivisionError: in a library"
    assert len(loads) == 1
    why = {"model": "tiny", "channel": "stable", "reason": "unexpected"}
    assert follower.metric("elastic_yolo_model_refusals_total", **why) == 1


def test_the_engine_of_a_refused_version_is_freed(
    follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = follower.watcher()
    watcher.start(0)
    follower.store.publish_bad("2", "golden")
    built = []
    real = version_loader.build_engine

    def build(model: Model, options: EngineOptions) -> tuple[Engine, Choice]:
        engine, choice = real(model, options)
        built.append(weakref.ref(engine))
        return engine, choice

    monkeypatch.setattr(version_loader, "build_engine", build)
    watcher.poll("tiny", optional=False)
    gc.collect()

    assert watcher.refusal is not None
    assert [reference() for reference in built] == [None]


def test_an_unmounted_store_keeps_a_version_a_removed_channel_does_not(
    follower: Follower, tmp_path: Path
) -> None:
    """An unmounted volume leaves an empty folder behind."""
    follower.store.publish("2", "rhombus", channel="next")
    canary = follower.watcher("next")
    canary.poll("tiny", optional=True)
    follower.store.root.rename(tmp_path / "unmounted")
    follower.store.root.mkdir()
    canary.poll("tiny", optional=True)
    kept, why = canary.version, canary.refusal
    follower.store.root.rmdir()
    (tmp_path / "unmounted").rename(follower.store.root)
    follower.channel_file("next").unlink()
    canary.poll("tiny", optional=True)

    assert kept is not None
    assert kept.version == "2"
    assert why is not None
    assert "no such model or channel" in str(why)
    assert (canary.version, canary.refusal) == (None, None)


@pytest.mark.parametrize("meanwhile", ["nothing", "another version", "a bad version"])
def test_a_store_that_goes_and_comes_back_is_logged_once_each(
    follower: Follower, tmp_path: Path, meanwhile: str
) -> None:
    watcher = follower.watcher()
    watcher.start(0)
    get_logger.cache_clear()
    with capture_logs() as logged:
        for _ in range(2):
            follower.store.root.rename(tmp_path / "unmounted")
            for _ in range(3):
                watcher.poll("tiny", optional=False)
            (tmp_path / "unmounted").rename(follower.store.root)
            if meanwhile == "another version":
                follower.store.publish("2", "rhombus")
            elif meanwhile == "a bad version":
                follower.store.publish_bad("3", "weights")
            for _ in range(3):
                watcher.poll("tiny", optional=False)
    get_logger.cache_clear()

    events = [
        (line["event"], line.get("reason"))
        for line in logged
        if line["event"] == "store is back" or line.get("reason") == "store"
    ]
    assert events == [("version refused", "store"), ("store is back", None)] * 2
    back = [line for line in logged if line["event"] == "store is back"]
    assert all("no such model or channel" in line["was"] for line in back)
    assert all((line["model"], line["channel"]) == ("tiny", "stable") for line in back)
    assert back[0]["serving"] == "1"


def test_the_poll_time_is_not_exported_where_polling_is_disabled(follower: Follower) -> None:
    """It would fall behind, as if the store hung."""
    metrics = Metrics("inference")
    never = ModelMetrics(metrics, poll_s=0)
    source = Reference(follower.store.root, "tiny", "stable")
    ChannelWatcher(source, follower.loader, never).start(0)
    follower.watcher().start(0)

    name = "elastic_yolo_model_looked_timestamp_seconds"
    labels = {"model": "tiny", "channel": "stable"}
    assert metrics.registry.get_sample_value(name, labels) is None
    assert follower.metric(name, **labels) is not None
