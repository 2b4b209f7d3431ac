"""Two versions side by side: split by weight, or one in the shadow of the other."""

from __future__ import annotations

import uuid
from collections import Counter
from pathlib import Path

import httpx
import pytest

from elastic_yolo.lab.processes.stack import Stack
from elastic_yolo.names import Resize
from tests.support.load import Load
from tests.support.versions import (
    JPEG,
    Versions,
    metric,
    serving,
    versions,
    wait_for_versions,
)
from tests.support.waiting import wait_until

SHARED = "tiny@stable=50,tiny@next=50"


@pytest.fixture
def store(tmp_path: Path) -> Versions:
    filled = Versions(tmp_path)
    filled.publish("1", "square")
    return filled


def post_picture(stack: Stack, uid: str) -> httpx.Response:
    return httpx.post(
        f"{stack.web.url}/inference", files={"image": JPEG}, headers={"X-Request-ID": uid}
    )


def pictures(stack: Stack, version: str) -> float:
    return metric(stack, "elastic_yolo_model_pictures_total", version=version)


@pytest.mark.long
def test_a_request_id_gets_the_same_version_again(tmp_path: Path, store: Versions) -> None:
    store.publish("2", "rhombus", channel="next")
    ids = [uuid.uuid4().hex for _ in range(40)]
    with serving(tmp_path, store, SHARED) as stack:
        first, second = ([post_picture(stack, uid) for uid in ids] for _ in range(2))
        counted = {version: pictures(stack, version) for version in "12"}

    picked = [response.json()["model"]["version"] for response in first]
    assert set(picked) == {"1", "2"}
    assert [response.json()["model"]["version"] for response in second] == picked
    assert all(store.is_right(response) for response in (*first, *second))
    assert counted == {version: 2 * picked.count(version) for version in "12"}


def test_a_canary_is_added_and_promoted_without_a_failed_request(
    tmp_path: Path, store: Versions
) -> None:
    """The next channel is missing at first; then it has a version, which becomes the stable one."""
    with serving(tmp_path, store, SHARED) as stack:
        load = Load(f"{stack.web.url}/inference", JPEG, store.is_right)
        with load.running():
            load.wait_for(20)
            alone = versions(stack)
            store.publish("2", "rhombus", channel="next")
            wait_until(lambda: pictures(stack, "2") > 20, "both respond", 60)
            together = versions(stack)
            store.point("2", "stable")
            wait_for_versions(stack, "2")
            load.wait_for(20)

    assert set(load.statuses) == {200}
    assert (alone, together) == (["1"], ["1", "2"])


@pytest.mark.parametrize(
    ("width", "resize", "reason"), [(64, "letterbox", "size"), (32, "stretch", "resize")]
)
def test_versions_of_different_input_formats_cannot_share_requests(
    tmp_path: Path, store: Versions, width: int, resize: Resize, reason: str
) -> None:
    store.publish("2", "rhombus", channel="next", width=width, resize=resize)
    with serving(tmp_path, store, SHARED) as stack:
        responses = [post_picture(stack, uuid.uuid4().hex) for _ in range(20)]
        refusals = metric(stack, "elastic_yolo_model_refusals_total", channel="next", reason=reason)
        store.point("2", "stable")
        wait_until(lambda: versions(stack)[0] == "2", "it is the main one", 60)
        refused = metric(stack, "elastic_yolo_model_refused", channel="next")
        wait_for_versions(stack, "2")
        promoted = post_picture(stack, uuid.uuid4().hex)

    assert {response.json()["model"]["version"] for response in responses} == {"1"}
    assert (refusals, refused) == (1, 0)
    assert promoted.json()["model"]["version"] == "2"
    assert store.is_right(promoted)
    log = (tmp_path / "inference.log").read_text()
    assert f"takes pictures of {width}x32 {resize}, but the main version of 32x32 letterbox" in log


def test_the_agreement_of_a_shadow_is_exported(tmp_path: Path, store: Versions) -> None:
    """Version 2 finds the same square as version 1; version 3 finds a rhombus instead."""
    store.publish("2", "square", channel="next")
    store.publish("3", "rhombus", channel=None)
    with serving(tmp_path, store, "tiny@stable,tiny@next=shadow") as stack:
        responses, counted = [], {}
        for shadow in ("2", "3"):
            store.point(shadow, "next")
            wait_until(lambda: is_shadow(stack, shadow), f"version {shadow} is the shadow", 60)  # noqa: B023
            responses.append(post_picture(stack, uuid.uuid4().hex))
            wait_until(lambda: compared(stack, shadow) == 1, "it is compared", 60)  # noqa: B023
            counted[shadow] = [
                metric(stack, "elastic_yolo_shadow_boxes_total", version=shadow, found_by=found_by)
                for found_by in ("both", "answer", "shadow")
            ]
        responding = versions(stack)

    assert {response.json()["model"]["version"] for response in responses} == {"1"}
    assert responding == ["1"]
    assert counted == {"2": [1, 0, 0], "3": [0, 1, 1]}


def is_shadow(stack: Stack, version: str) -> bool:
    return metric(stack, "elastic_yolo_model_info", version=version, channel="next") == 1


def compared(stack: Stack, version: str) -> float:
    name = "elastic_yolo_shadow_pictures_total"
    return metric(stack, name, version=version, outcome="compared")


def test_the_golden_picture_is_checked_by_its_own_version(tmp_path: Path, store: Versions) -> None:
    """Otherwise the check would fail whenever the canary responds."""
    store.publish("2", "rhombus", channel="next")
    with serving(tmp_path, store, "tiny@stable=1,tiny@next=99") as stack:
        checked = [
            httpx.get(f"{service.url}/health/status", headers={"X-Request-ID": uuid.uuid4().hex})
            for service in stack.services
            for _ in range(5)
        ]

    assert {status.status_code for status in checked} == {200}
    assert {status.json()["model"]["version"] for status in checked} == {"1"}


@pytest.mark.long
def test_a_version_that_fits_again_responds_again(tmp_path: Path, store: Versions) -> None:
    """The main version has another input size for a while, and then the same one again."""
    store.publish("2", "rhombus", channel="next")
    store.publish("3", "square", channel=None, width=64)
    with serving(tmp_path, store, SHARED) as stack:
        for main, responding in (("3", ["3"]), ("1", ["1", "2"])):
            store.point(main)
            wait_for_versions(stack, *responding)
        responses = [post_picture(stack, uuid.uuid4().hex) for _ in range(20)]

    assert {response.status_code for response in responses} == {200}
    assert {response.json()["model"]["version"] for response in responses} == {"1", "2"}
    assert all(store.is_right(response) for response in responses)


@pytest.mark.parametrize("shadows", ["232", pytest.param("2323232", marks=pytest.mark.long)])
def test_a_shadow_is_switched_under_load_without_a_failed_request(
    tmp_path: Path, store: Versions, shadows: str
) -> None:
    store.publish("2", "rhombus", channel="next")
    store.publish("3", "oval", channel=None)
    with serving(tmp_path, store, "tiny@stable,tiny@next=shadow") as stack:
        load = Load(f"{stack.web.url}/inference", JPEG, store.is_right)
        with load.running():
            for version in shadows:
                before = compared(stack, version)
                store.point(version, "next")
                wait_until(lambda: compared(stack, version) > before + 5, "it runs", 60)  # noqa: B023
        switches = metric(stack, "elastic_yolo_model_switches_total", channel="next")

    assert Counter(load.statuses) == {200: len(load.statuses)}
    assert switches == len(shadows) - 1
    assert "unexpected error" not in (tmp_path / "inference.log").read_text()
