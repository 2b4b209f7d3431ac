"""How a process follows its channels when what it finds there is not as it should be."""

from __future__ import annotations

import asyncio
import gc
import os
import weakref
from dataclasses import dataclass
from pathlib import Path

import pytest

from elastic_yolo.detector.engines.base import Engine
from elastic_yolo.detector.engines.choose import Choice, EngineOptions
from elastic_yolo.detector.model import Model
from elastic_yolo.store.layout import Layout
from elastic_yolo.store.reference import Reference
from services.common.observe.telemetry import Metrics
from services.inference.versions import loader as loading
from services.inference.versions.followed import ChannelWatcher
from services.inference.versions.loader import Loader
from services.inference.versions.model_metrics import ModelMetrics
from services.inference.versions.models import Models
from services.inference.versions.place import parse_channels
from services.inference.versions.served import ServedModel
from tests.support.versions import Versions


@dataclass
class Bench:
    """A store, and what follows it."""

    store: Versions
    metrics: Metrics
    counted: ModelMetrics
    loader: Loader

    def follow(self, channel: str = "stable") -> ChannelWatcher:
        """Return a channel, not looked at yet."""
        return ChannelWatcher(
            Reference(self.store.root, "tiny", channel), self.loader, self.counted
        )

    def served(self, channels: str) -> ServedModel:
        """Return a model, not loaded yet."""
        place = parse_channels(f"store:{self.store.root}/{channels}")
        return ServedModel(place, self.loader, self.counted, leaving_s=0.0)

    def metric(self, name: str, **labels: str) -> float | None:
        """Return a sample's value."""
        return self.metrics.registry.get_sample_value(name, labels)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    store = Versions(tmp_path)
    store.publish("1", "square")
    metrics = Metrics("inference")
    loader = Loader(EngineOptions(threads=1), streams=2, max_queue=9, max_batch=1)
    return Bench(store, metrics, ModelMetrics(metrics), loader)


def unread(store: Versions, version: str) -> bytes:
    """Make a version's weights unreadable, also for root, and return them."""
    weights = store.folder(version) / "tiny.weights"
    content = weights.read_bytes()
    weights.unlink()
    weights.symlink_to(weights)
    return content


def read_again(store: Versions, version: str, content: bytes) -> None:
    weights = store.folder(version) / "tiny.weights"
    weights.unlink()
    weights.write_bytes(content)


def count_tries(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows with every version that is tried."""
    tried: list[str] = []
    real = loading.read_version

    def read(spot: Path | Reference, identity: str) -> Model:
        tried.append(identity)
        return real(spot, identity)

    monkeypatch.setattr(loading, "read_version", read)
    return tried


def test_what_cannot_be_read_is_tried_less_and_less_often_until_it_can(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.store.publish("2", "rhombus", channel=None)
    channel = bench.follow()
    channel.start(0)
    content = unread(bench.store, "2")
    bench.store.point("2")
    tried = count_tries(monkeypatch)
    at = []
    for look in range(1, 100):
        before = len(tried)
        channel.follow("tiny", optional=False)
        at += [look] if len(tried) > before else []
    read_again(bench.store, "2", content)
    for _ in range(33):
        channel.follow("tiny", optional=False)

    assert at == [1, 2, 4, 8, 16, 32, 64, 96]
    assert channel.version is not None
    assert channel.version.version == "2"
    assert channel.refusal is None


def test_a_bad_version_is_tried_once_whatever_happens_to_the_channel_meanwhile(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = bench.follow()
    channel.start(0)
    bench.store.publish_bad("2", "weights")
    tried = count_tries(monkeypatch)
    file = Layout(bench.store.root).channel("tiny", "stable")
    said = []
    for away in (False, True, False, True, False):
        content = file.read_bytes()
        if away:
            file.unlink()
        channel.follow("tiny", optional=False)
        assert channel.refusal is not None
        said.append(channel.refusal.reason)
        file.write_bytes(content)

    assert len(tried) == 1
    assert said == ["model", "store", "model", "store", "model"]


def test_a_process_that_starts_while_files_cannot_be_read_takes_them_when_they_can(
    bench: Bench,
) -> None:
    """It must not stay with the version before for good."""
    bench.store.publish("2", "rhombus")
    content = unread(bench.store, "2")
    channel = bench.follow()
    started = channel.start(0).version
    read_again(bench.store, "2", content)
    channel.follow("tiny", optional=False)

    assert started == "1"
    assert channel.version is not None
    assert channel.version.version == "2"


def test_what_nobody_expected_at_a_load_leaves_the_old_version_and_is_not_tried_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = bench.follow()
    old = channel.start(0)
    bench.store.publish("2", "rhombus")

    def fail(*_: object) -> tuple[Engine, Choice]:
        raise ZeroDivisionError("in a library")

    monkeypatch.setattr(loading, "build_engine", fail)
    tried = count_tries(monkeypatch)
    for _ in range(3):
        channel.follow("tiny", optional=False)

    assert channel.version is old
    assert channel.refusal is not None
    assert str(channel.refusal) == "ZeroDivisionError: in a library"
    assert len(tried) == 1
    why = {"model": "tiny", "channel": "stable", "reason": "unexpected"}
    assert bench.metric("elastic_yolo_model_refusals_total", **why) == 1


def test_the_engine_of_a_version_that_is_refused_does_not_stay_in_memory(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = bench.follow()
    channel.start(0)
    bench.store.publish_bad("2", "golden")
    built = []
    real = loading.build_engine

    def build(model: Model, options: EngineOptions) -> tuple[Engine, Choice]:
        engine, choice = real(model, options)
        built.append(weakref.ref(engine))
        return engine, choice

    monkeypatch.setattr(loading, "build_engine", build)
    channel.follow("tiny", optional=False)
    gc.collect()

    assert channel.refusal is not None
    assert [reference() for reference in built] == [None]


def test_a_store_that_is_away_takes_no_version_and_a_channel_that_is_removed_does(
    bench: Bench, tmp_path: Path
) -> None:
    """An unmounted volume looks like an empty folder."""
    bench.store.publish("2", "rhombus", channel="next")
    canary = bench.follow("next")
    canary.follow("tiny", optional=True)
    bench.store.root.rename(tmp_path / "away")
    bench.store.root.mkdir()
    canary.follow("tiny", optional=True)
    kept, why = canary.version, canary.refusal
    bench.store.root.rmdir()
    (tmp_path / "away").rename(bench.store.root)
    Layout(bench.store.root).channel("tiny", "next").unlink()
    canary.follow("tiny", optional=True)

    assert kept is not None
    assert kept.version == "2"
    assert why is not None
    assert "no such model or channel" in str(why)
    assert (canary.version, canary.refusal) == (None, None)


def test_a_model_that_has_only_a_version_with_a_wrong_answer_serves_and_the_metric_says_so(
    tmp_path: Path, bench: Bench
) -> None:
    bench.store = Versions(tmp_path / "other")
    bench.store.publish_bad("2", "golden")
    model = bench.served("tiny@stable")
    model.start()
    digest = model.lineup.main.digest

    agrees = "elastic_yolo_model_golden_agrees"
    assert model.lineup.main.version == "2"
    assert bench.metric(agrees, model="tiny", version="2", digest=digest) == 0


def test_a_bad_version_beside_one_of_another_size_is_tried_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two things are wrong with a channel: what it has does not fit, and what is new is bad."""
    bench.store.publish("2", "rhombus", channel="next", width=64)
    model = bench.served("tiny@stable=50,tiny@next=50")
    model.start()
    does_not_fit = dict(model.refusals)
    bench.store.publish_bad("3", "weights")
    bench.store.point("3", "next")
    bench.store.point("1")
    tried = count_tries(monkeypatch)

    async def scenario() -> None:
        for _ in range(3):
            await model.refresh()
        await model.close()

    asyncio.run(scenario())

    assert [why.reason for why in does_not_fit.values()] == ["size"]
    assert len(tried) == 1
    assert model.refusals["next"].reason == "model"
    assert bench.metric("elastic_yolo_model_refused", model="tiny", channel="next") == 1
    counts = {
        reason: bench.metric(
            "elastic_yolo_model_refusals_total", model="tiny", channel="next", reason=reason
        )
        for reason in ("size", "model")
    }
    assert counts == {"size": 1, "model": 1}


def test_a_caller_of_load_who_hangs_up_leaves_nothing_half_done(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = bench.served("tiny@stable")
    model.start()
    bench.store.publish("2", "rhombus")
    tried = count_tries(monkeypatch)

    async def scenario() -> None:
        hanging_up = asyncio.create_task(model.load())
        await asyncio.sleep(0)
        hanging_up.cancel()
        await model.load()
        await model.close()

    asyncio.run(scenario())

    assert len(tried) == 1
    assert model.lineup.main.version == "2"
    assert model.lineup.main.scheduler.shares == 2


def test_a_model_that_is_unloaded_at_the_start_keeps_no_other_from_being_prepared(
    bench: Bench,
) -> None:
    one, other = bench.served("tiny@stable"), bench.served("tiny@stable")
    one.start()
    other.start()

    async def scenario() -> None:
        await one.unload()
        models = Models({"one": one, "other": other})
        await models.prepare()
        assert other.lineup.main.scheduler.shares == 2
        await models.close()

    asyncio.run(scenario())


def test_unloading_clears_what_the_metrics_say_of_a_model(bench: Bench) -> None:
    bench.store.publish_bad("2", "weights")
    model = bench.served("tiny@stable")
    model.start()
    digest = model.lineup.main.digest
    where = {"model": "tiny", "channel": "stable"}
    before = bench.metric("elastic_yolo_model_refused", **where)

    async def scenario() -> None:
        await model.unload()
        await model.close()

    asyncio.run(scenario())

    assert before == 1
    assert bench.metric("elastic_yolo_model_refused", **where) == 0
    assert bench.metric("elastic_yolo_model_info", version="1", digest=digest, **where) is None


def test_versions_that_left_long_ago_are_exported_no_more(bench: Bench) -> None:
    bench.store.publish("2", "rhombus", channel=None)
    first, second = bench.follow(), bench.follow()
    one = first.start(0)
    bench.store.point("2")
    two = second.start(0)
    for version in (one, two):
        bench.counted.count_answer(version.name, version.version, 1, 0.01)

    def pictures(version: str) -> float | None:
        return bench.metric("elastic_yolo_model_pictures_total", model="tiny", version=version)

    bench.counted.show_loaded("tiny", {"stable": one})
    bench.counted.show_loaded("tiny", {"stable": two})
    just_left = pictures("1")
    for number in range(25):
        bench.counted.show_loaded(f"other{number}", {"stable": one})
        bench.counted.show_loaded(f"other{number}", {})

    assert just_left == 1
    assert (pictures("1"), pictures("2")) == (None, 1)


def test_unloading_waits_for_no_store_that_hangs(bench: Bench) -> None:
    """What was being looked at is let go of when the store comes back."""
    model = bench.served("tiny@stable")
    model.start()
    old = model.lineup.main
    bench.store.publish("2", "rhombus", channel=None)
    channel = Layout(bench.store.root).channel("tiny", "stable")
    bench.store.point("2")
    content = channel.read_bytes()
    channel.unlink()
    os.mkfifo(channel)

    async def scenario() -> None:
        looking = asyncio.create_task(model.refresh())
        await asyncio.sleep(0)
        await model.unload()
        assert not model.is_loaded
        assert not looking.done()
        # Whoever reads the pipe gets what the channel says.
        await asyncio.to_thread(channel.write_bytes, content)
        await looking
        assert not model.is_loaded
        await model.close()

    asyncio.run(scenario())

    assert model.refusals == {}
    assert bench.metric(
        "elastic_yolo_model_info", model="tiny", version="1", digest=old.digest, channel="stable",
        engine="openvino", precision="fp32", device="cpu",
    ) is None  # fmt: skip


def test_a_load_that_failed_is_made_up_for_when_the_store_is_well_again(
    bench: Bench, tmp_path: Path
) -> None:
    model = bench.served("tiny@stable")
    model.start()

    async def scenario() -> None:
        await model.unload()
        bench.store.root.rename(tmp_path / "away")
        await model.load()
        assert not model.is_loaded
        assert model.refusals["stable"].reason == "store"
        assert bench.metric("elastic_yolo_model_refused", model="tiny", channel="stable") == 1
        (tmp_path / "away").rename(bench.store.root)
        await model.refresh()
        assert model.lineup.main.version == "1"
        assert bench.metric("elastic_yolo_model_refused", model="tiny", channel="stable") == 0
        await model.close()

    asyncio.run(scenario())


def test_who_is_not_polled_does_not_seem_to_hang(bench: Bench) -> None:
    metrics = Metrics("inference")
    never = ModelMetrics(metrics, poll_s=0)
    ChannelWatcher(Reference(bench.store.root, "tiny", "stable"), bench.loader, never).start(0)
    bench.follow().start(0)

    name, labels = (
        "elastic_yolo_model_looked_timestamp_seconds",
        {"model": "tiny", "channel": "stable"},
    )
    assert metrics.registry.get_sample_value(name, labels) is None
    assert bench.metric(name, **labels) is not None
