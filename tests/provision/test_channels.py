"""A rollback pins its channel until models.yaml names another version."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from elastic_yolo.store.layout import Layout
from elastic_yolo.store.reader import find_version, list_channels, resolve
from elastic_yolo.store.records import ChannelRecord
from elastic_yolo.store.reference import Reference
from elastic_yolo.store.writer import Writer
from tests.provision.provisioning import provision, stable
from tests.support.models import wanted, write_source


@pytest.fixture
def models(tmp_path: Path) -> list[dict[str, Any]]:
    """Return entries of models.yaml: versions 0 to 3 of one model."""
    return [
        wanted(write_source(tmp_path / str(number), number + 1), version=str(number))
        for number in range(4)
    ]


def provisioned(tmp_path: Path, models: list[dict[str, Any]]) -> Path:
    """Return a store to which the versions were provisioned, one run after another."""
    store = tmp_path / "store"
    for model in models:
        provision(store, model)
    return store


def roll_back(store: Path, channel: str = "stable") -> ChannelRecord:
    return Writer(Layout(store)).roll_back("tiny", channel)


def test_a_run_with_the_same_configuration_leaves_a_rollback(
    tmp_path: Path, models: list[dict[str, Any]]
) -> None:
    store = provisioned(tmp_path, models[:2])
    pinned = roll_back(store)

    for _ in range(2):
        (report,) = provision(store, models[1])

        assert report.outcome == "present"
        (line,) = report.pins
        assert line == (
            f"tiny@stable: pinned to {pinned.id} by a rollback at {pinned.since}; "
            f"models.yaml still names {pinned.rolled_back_from}"
        )
        assert stable(store) == "0"


def test_another_version_in_the_configuration_ends_the_pin(
    tmp_path: Path, models: list[dict[str, Any]]
) -> None:
    store = provisioned(tmp_path, models[:2])
    roll_back(store)

    (report,) = provision(store, models[2])
    (back,) = provision(store, models[1])

    assert report.outcome == "published"
    (line,) = report.pins
    assert "released from the rollback" in line
    assert (back.outcome, back.pins) == ("switched", ())
    assert stable(store) == "1"


def test_a_configuration_that_follows_the_rollback_ends_the_pin(
    tmp_path: Path, models: list[dict[str, Any]]
) -> None:
    """The channel stays, and the next version is switched to as always."""
    store = provisioned(tmp_path, models[:2])
    roll_back(store)

    (report,) = provision(store, models[0])

    assert report.outcome == "present"
    assert len(report.pins) == 1
    assert stable(store) == "0"
    assert provision(store, models[1])[0].outcome == "switched"


def test_two_rollbacks_are_pinned_against_the_configured_version(
    tmp_path: Path, models: list[dict[str, Any]]
) -> None:
    store = provisioned(tmp_path, models[:3])
    roll_back(store)
    roll_back(store)

    (same,) = provision(store, models[2])
    assert (same.outcome, stable(store)) == ("present", "0")
    (between,) = provision(store, models[1])
    assert (between.outcome, stable(store)) == ("switched", "1")


def test_a_pin_outlasts_a_time_without_the_model_in_the_configuration(
    tmp_path: Path, models: list[dict[str, Any]]
) -> None:
    store = provisioned(tmp_path, models[:2])
    roll_back(store)
    other = {**models[2], "name": "other"}

    provision(store, other)
    provision(store, other, models[1])

    assert stable(store) == "0"


def test_only_the_channel_that_was_rolled_back_is_pinned(
    tmp_path: Path, models: list[dict[str, Any]]
) -> None:
    """As with `yolov3@stable=95,yolov3@next=5`: `next` goes back, then its version is promoted."""
    store = tmp_path / "store"
    provision(store, {**models[0], "channels": ["stable", "next"]})
    provision(store, {**models[1], "channels": ["next"]})
    roll_back(store, "next")

    (report,) = provision(store, {**models[1], "channels": ["stable", "next"]})

    assert report.outcome == "switched"
    assert [line.partition(":")[0] for line in report.pins] == ["tiny@next"]
    assert stable(store) == "1"
    assert resolve(Reference(store, "tiny", "next")).record.version == "0"


def test_a_pin_on_a_version_that_is_gone_ends(tmp_path: Path, models: list[dict[str, Any]]) -> None:
    """A process that starts would have nothing to serve."""
    store = provisioned(tmp_path, models[:2])
    pinned = roll_back(store)
    layout = Layout(store)
    layout.version_record("tiny", pinned.id).unlink()
    shutil.rmtree(layout.version("tiny", pinned.id))

    (report,) = provision(store, models[1])

    assert report.outcome == "switched"
    assert report.pins[0].endswith(f"its version {pinned.id} does not exist any more")
    assert stable(store) == "1"


def test_a_configured_version_that_is_gone_returns_without_ending_the_pin(
    tmp_path: Path, models: list[dict[str, Any]]
) -> None:
    store = provisioned(tmp_path, models[:2])
    configured = str(roll_back(store).rolled_back_from)
    layout = Layout(store)
    layout.version_record("tiny", configured).unlink()

    (report,) = provision(store, models[1])

    assert (report.outcome, len(report.pins)) == ("published", 1)
    assert find_version(layout, "tiny", configured)
    assert stable(store) == "0"


def test_a_run_that_fails_leaves_the_pin(tmp_path: Path, models: list[dict[str, Any]]) -> None:
    store = provisioned(tmp_path, models[:2])
    pinned = roll_back(store)

    (report,) = provision(store, {**wanted(tmp_path / "nowhere"), "version": "9"})

    assert report.outcome == "failed"
    assert list_channels(Layout(store), "tiny")["stable"] == pinned
