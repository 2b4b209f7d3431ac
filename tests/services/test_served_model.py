"""A served model: how it is loaded, switched and unloaded, and what its metrics report."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from elastic_yolo.detector.engines.base import Engine
from elastic_yolo.detector.engines.choose import Choice, EngineOptions
from elastic_yolo.detector.model import Model
from services.inference.versions import version_loader
from services.inference.versions.models import Models
from services.inference.versions.served_model import ServedModel
from services.inference.versions.traffic_split import TrafficSplit
from tests.support.following import Follower, record_loads
from tests.support.versions import Versions

pytestmark = pytest.mark.anyio

STABLE = {"model": "tiny", "channel": "stable"}
ENGINE = {"engine": "openvino", "precision": "fp32", "device": "cpu"}


@pytest.fixture
def follower(tmp_path: Path) -> Follower:
    return Follower.create(tmp_path)


def split_of(model: ServedModel) -> TrafficSplit:
    """Return the split of a loaded model."""
    assert model.split is not None
    return model.split


def test_a_model_with_only_a_wrong_golden_picture_serves_and_reports_it(
    tmp_path: Path, follower: Follower
) -> None:
    follower.store = Versions(tmp_path / "other")
    follower.store.publish_bad("2", "golden")
    model = follower.served("tiny@stable")
    model.start()
    main = split_of(model).main

    assert main.version == "2"
    labels = {"model": "tiny", "version": "2", "digest": main.digest}
    assert follower.metric("elastic_yolo_model_golden_agrees", **labels) == 0


async def test_a_bad_version_on_a_channel_of_another_size_is_loaded_once(
    follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two things are wrong with the channel: its version does not fit, and the next one is bad."""
    follower.store.publish("2", "rhombus", channel="next", width=64)
    model = follower.served("tiny@stable=50,tiny@next=50")
    model.start()
    misfits = dict(model.refusals)
    follower.store.publish_bad("3", "weights")
    follower.store.point("3", "next")
    follower.store.point("1")
    loads = record_loads(monkeypatch)
    for _ in range(3):
        await model.refresh()
    await model.close()

    next_channel = {"model": "tiny", "channel": "next"}
    assert [why.reason for why in misfits.values()] == ["size"]
    assert len(loads) == 1
    assert model.refusals["next"].reason == "model"
    assert follower.metric("elastic_yolo_model_refused", **next_channel) == 1
    counts = {
        reason: follower.metric("elastic_yolo_model_refusals_total", **next_channel, reason=reason)
        for reason in ("size", "model")
    }
    assert counts == {"size": 1, "model": 1}


async def test_a_load_goes_on_when_its_caller_hangs_up(
    follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = follower.served("tiny@stable")
    model.start()
    follower.store.publish("2", "rhombus")
    loads = record_loads(monkeypatch)
    hanging_up = asyncio.create_task(model.load())
    await asyncio.sleep(0)
    hanging_up.cancel()
    await model.load()
    await model.close()

    assert len(loads) == 1
    assert split_of(model).main.version == "2"
    assert split_of(model).main.scheduler.streams == 2


async def test_an_unloaded_model_does_not_keep_others_from_partitioning(
    follower: Follower,
) -> None:
    one, other = follower.served("tiny@stable"), follower.served("tiny@stable")
    one.start()
    other.start()
    await one.unload()
    models = Models({"one": one, "other": other})
    await models.partition()
    streams = split_of(other).main.scheduler.streams
    await models.close()

    assert streams == 2


async def test_unloading_clears_the_metrics_of_a_model(follower: Follower) -> None:
    follower.store.publish_bad("2", "weights")
    model = follower.served("tiny@stable")
    model.start()
    info = {**STABLE, **ENGINE, "version": "1", "digest": split_of(model).main.digest}
    names = "elastic_yolo_model_refused", "elastic_yolo_model_info"
    before = follower.metric(names[0], **STABLE), follower.metric(names[1], **info)
    await model.unload()
    await model.close()

    assert before == (1, 1)
    assert follower.metric(names[0], **STABLE) == 0
    assert follower.metric(names[1], **info) is None


def test_counters_of_versions_unloaded_long_ago_are_removed(follower: Follower) -> None:
    follower.store.publish("2", "rhombus", channel=None)
    first, second = follower.watcher(), follower.watcher()
    one = first.start(0)
    follower.store.point("2")
    two = second.start(0)
    for version in (one, two):
        follower.model_metrics.count_prediction(version.name, version.version, 1, 0.01)

    def pictures(version: str) -> float | None:
        return follower.metric("elastic_yolo_model_pictures_total", model="tiny", version=version)

    follower.model_metrics.show_loaded("tiny", {"stable": one})
    follower.model_metrics.show_loaded("tiny", {"stable": two})
    just_unloaded = pictures("1")
    for number in range(25):
        follower.model_metrics.show_loaded(f"other{number}", {"stable": one})
        follower.model_metrics.show_loaded(f"other{number}", {})

    assert just_unloaded == 1
    assert (pictures("1"), pictures("2")) == (None, 1)


async def test_unloading_does_not_wait_for_a_store_that_hangs(follower: Follower) -> None:
    """The version that is being loaded is released when the store responds again."""
    model = follower.served("tiny@stable")
    model.start()
    old = split_of(model).main
    follower.store.publish("2", "rhombus", channel=None)
    follower.store.point("2")
    channel = follower.channel_file()
    content = channel.read_bytes()
    channel.unlink()
    os.mkfifo(channel)
    refreshing = asyncio.create_task(model.refresh())
    await asyncio.sleep(0)
    await model.unload()
    assert model.split is None
    assert not refreshing.done()
    # The reader of the pipe gets the channel's content.
    await asyncio.to_thread(channel.write_bytes, content)
    await refreshing
    assert model.split is None
    await model.close()

    assert model.refusals == {}
    info = {**STABLE, **ENGINE, "version": "1", "digest": old.digest}
    assert follower.metric("elastic_yolo_model_info", **info) is None


async def test_a_failed_load_succeeds_when_the_store_is_back(
    follower: Follower, tmp_path: Path
) -> None:
    model = follower.served("tiny@stable")
    model.start()
    await model.unload()
    follower.store.root.rename(tmp_path / "unmounted")
    await model.load()
    assert model.split is None
    assert model.refusals["stable"].reason == "store"
    assert follower.metric("elastic_yolo_model_refused", **STABLE) == 1
    (tmp_path / "unmounted").rename(follower.store.root)
    await model.refresh()
    assert split_of(model).main.version == "1"
    assert follower.metric("elastic_yolo_model_refused", **STABLE) == 0
    await model.close()


async def test_a_switch_is_counted_if_a_version_leaves_during_the_load(
    follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version 1 leaves while version 3 is loaded and not yet in service."""
    follower.store.publish("2", "rhombus", channel=None, width=64)
    follower.store.publish("3", "oval", channel=None, width=64)
    model = follower.served("tiny@stable", outgoing_s=3600)
    model.start()
    first = split_of(model).main
    follower.store.point("2")
    await model.refresh()
    second = split_of(model).main
    loaded, gate = slow_partition(monkeypatch)
    follower.store.point("3")
    refreshing = asyncio.create_task(model.refresh())
    await asyncio.to_thread(loaded.wait, 20)
    assert split_of(model).outgoing is first
    model._outgoing_s = 0  # noqa: SLF001  # the timer of an outgoing version ends now
    await model._end_outgoing(first)  # noqa: SLF001
    info = {**STABLE, **ENGINE, "version": "2", "digest": second.digest}
    during = follower.metric("elastic_yolo_model_info", **info)
    gate.set()
    await refreshing
    await model.close()

    assert during == 1
    assert split_of(model).main.version == "3"
    assert follower.metric("elastic_yolo_model_switches_total", **STABLE) == 2


def slow_partition(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Hold up the partition of the next engines.

    Returns an event that is set when a version is loaded, and one that lets the partition begin.
    """
    loaded, gate = threading.Event(), threading.Event()
    real = version_loader.build_engine

    def build(model: Model, options: EngineOptions) -> tuple[Engine, Choice]:
        engine, choice = real(model, options)
        split = engine.split

        def wait_and_split(parts: int) -> list[Engine]:
            loaded.set()
            assert gate.wait(20)
            return split(parts)

        monkeypatch.setattr(engine, "split", wait_and_split)
        return engine, choice

    monkeypatch.setattr(version_loader, "build_engine", build)
    return loaded, gate
