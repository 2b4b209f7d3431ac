"""Two versions side by side: shared by weight, compared in the shadow, seen in the metrics."""

from __future__ import annotations

import uuid
from collections import Counter
from pathlib import Path

import httpx
import pytest

from elastic_yolo.lab.processes.stack import Stack
from tests.support.load import Load
from tests.support.versions import JPEG, Versions, metric, serving, versions
from tests.support.waiting import wait_until

SHARED = "tiny@stable=50,tiny@next=50"


@pytest.fixture
def store(tmp_path: Path) -> Versions:
    filled = Versions(tmp_path)
    filled.publish("1", "square")
    return filled


def ask(stack: Stack, uid: str) -> httpx.Response:
    return httpx.post(
        f"{stack.web.url}/inference", files={"image": JPEG}, headers={"X-Request-ID": uid}
    )


def pictures(stack: Stack, version: str) -> float:
    return metric(stack, "elastic_yolo_model_pictures_total", version=version)


def test_a_request_id_is_answered_by_the_same_version_again(
    tmp_path: Path, store: Versions
) -> None:
    store.publish("2", "rhombus", channel="next")
    ids = [uuid.uuid4().hex for _ in range(40)]
    with serving(tmp_path, store, SHARED) as stack:
        first, second = ([ask(stack, uid) for uid in ids] for _ in range(2))
        counted = {version: pictures(stack, version) for version in "12"}

    answered = [answer.json()["model"]["version"] for answer in first]
    assert set(answered) == {"1", "2"}
    assert [answer.json()["model"]["version"] for answer in second] == answered
    assert all(store.is_right(answer) for answer in (*first, *second))
    assert counted == {version: 2 * answered.count(version) for version in "12"}


def test_a_new_version_comes_beside_the_old_one_is_promoted_and_nothing_is_lost(
    tmp_path: Path, store: Versions
) -> None:
    """First nobody is on the next channel, then a version, which becomes the stable one."""
    with serving(tmp_path, store, SHARED) as stack:
        load = Load(f"{stack.web.url}/inference", JPEG, store.is_right)
        with load.running():
            load.wait_for(20)
            alone = versions(stack)
            store.publish("2", "rhombus", channel="next")
            wait_until(lambda: pictures(stack, "2") > 20, "both answer")
            together = versions(stack)
            store.point("2", "stable")
            wait_until(lambda: versions(stack) == ["2"], "it is the only one")
            load.wait_for(20)

    assert set(load.statuses) == {200}
    assert (alone, together) == (["1"], ["1", "2"])


def test_versions_of_other_input_sizes_cannot_share_requests(
    tmp_path: Path, store: Versions
) -> None:
    store.publish("2", "rhombus", channel="next", width=64)
    with serving(tmp_path, store, SHARED) as stack:
        answers = [ask(stack, uuid.uuid4().hex) for _ in range(20)]
        refusals = metric(stack, "elastic_yolo_model_refusals_total", channel="next", reason="size")
        store.point("2", "stable")
        wait_until(lambda: versions(stack)[0] == "2", "it is the main one")
        refused = metric(stack, "elastic_yolo_model_refused", channel="next")
        wait_until(lambda: versions(stack) == ["2"], "nobody sends the other size any more")
        promoted = ask(stack, uuid.uuid4().hex)

    assert {answer.json()["model"]["version"] for answer in answers} == {"1"}
    assert (refusals, refused) == (1, 0)
    assert promoted.json()["model"]["version"] == "2"
    assert store.is_right(promoted)


@pytest.mark.parametrize(("label", "both"), [("square", 1), ("rhombus", 0)])
def test_a_shadow_is_asked_as_well_and_its_agreement_exported(
    tmp_path: Path, store: Versions, label: str, both: int
) -> None:
    store.publish("2", label, channel="next")
    with serving(tmp_path, store, "tiny@stable,tiny@next=shadow") as stack:

        def boxes(found_by: str) -> float:
            return metric(stack, "elastic_yolo_shadow_boxes_total", version="2", found_by=found_by)

        answer = ask(stack, uuid.uuid4().hex)
        wait_until(
            lambda: metric(stack, "elastic_yolo_shadow_pictures_total", outcome="compared") == 1,
            "it is compared",
        )
        counted = {found_by: boxes(found_by) for found_by in ("both", "answer", "shadow")}
        answering = versions(stack)

    assert answer.json()["model"]["version"] == "1"
    assert answering == ["1"]
    assert counted == {"both": both, "answer": 1 - both, "shadow": 1 - both}


def test_the_known_picture_is_answered_by_the_version_that_knows_it(
    tmp_path: Path, store: Versions
) -> None:
    """Or the check would fail whenever a canary answers."""
    store.publish("2", "rhombus", channel="next")
    with serving(tmp_path, store, "tiny@stable=1,tiny@next=99") as stack:
        checked = [
            httpx.get(f"{service.url}/health/status", headers={"X-Request-ID": uuid.uuid4().hex})
            for service in stack.services
            for _ in range(5)
        ]

    assert {answer.status_code for answer in checked} == {200}
    assert {answer.json()["model"]["version"] for answer in checked} == {"1"}


def test_a_version_that_did_not_fit_for_a_while_answers_again(
    tmp_path: Path, store: Versions
) -> None:
    """The main version has another input size for a time, and then the same again."""
    store.publish("2", "rhombus", channel="next")
    store.publish("3", "square", channel=None, width=64)
    with serving(tmp_path, store, SHARED) as stack:
        for main, answering in (("3", ["3"]), ("1", ["1", "2"])):
            store.point(main)
            wait_until(lambda: versions(stack) == answering, "it has settled")  # noqa: B023
        answers = [ask(stack, uuid.uuid4().hex) for _ in range(20)]

    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["model"]["version"] for answer in answers} == {"1", "2"}
    assert all(store.is_right(answer) for answer in answers)


def test_a_shadow_is_changed_under_load_and_nothing_is_lost(
    tmp_path: Path, store: Versions
) -> None:
    store.publish("2", "rhombus", channel="next")
    store.publish("3", "oval", channel=None)
    with serving(tmp_path, store, "tiny@stable,tiny@next=shadow") as stack:
        load = Load(f"{stack.web.url}/inference", JPEG, store.is_right)

        def compared(version: str) -> float:
            name = "elastic_yolo_shadow_pictures_total"
            return metric(stack, name, version=version, outcome="compared")

        with load.running():
            for version in "232323":
                before = compared(version)
                store.point(version, "next")
                wait_until(lambda: compared(version) > before + 5, "it is asked")  # noqa: B023
        switches = metric(stack, "elastic_yolo_model_switches_total", channel="next")

    assert Counter(load.statuses) == {200: len(load.statuses)}
    assert switches == 5
    assert "unexpected error" not in (tmp_path / "inference.log").read_text()
