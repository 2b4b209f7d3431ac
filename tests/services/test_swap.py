"""A model is switched under load: every request gets a response, from one version or the other."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

import httpx
import pytest

from elastic_yolo.lab.processes.stack import Service, free_port
from elastic_yolo.names import Resize
from elastic_yolo.store.layout import Layout
from tests.support.following import make_readable, make_unreadable
from tests.support.load import Load
from tests.support.versions import (
    JPEG,
    Versions,
    metric,
    sample,
    serving,
    versions,
    wait_for_versions,
)
from tests.support.waiting import wait_until


@pytest.fixture
def store(tmp_path: Path) -> Versions:
    filled = Versions(tmp_path)
    filled.publish("1", "square")
    return filled


@pytest.mark.parametrize(
    ("width", "resize"), [(32, "letterbox"), (64, "letterbox"), (32, "stretch")]
)
def test_three_switches_under_load_fail_no_request(
    tmp_path: Path, store: Versions, width: int, resize: Resize
) -> None:
    """From a letterbox of 32x32 to a version with other labels, of one input format or of two."""
    store.publish("2", "rhombus", channel=None, width=width, resize=resize)
    switch_under_load(tmp_path, store, processes=1, switches=3)


@pytest.mark.long
@pytest.mark.parametrize(
    ("width", "resize", "processes"),
    [
        (32, "letterbox", 1),
        (64, "letterbox", 1),
        (64, "letterbox", 2),
        (32, "stretch", 1),
        (32, "stretch", 2),
    ],
)
def test_twenty_switches_under_load_fail_no_request(
    tmp_path: Path, store: Versions, width: int, resize: Resize, processes: int
) -> None:
    """Several processes do not switch at the same moment."""
    store.publish("2", "rhombus", channel=None, width=width, resize=resize)
    switch_under_load(tmp_path, store, processes, switches=20)


def switch_under_load(folder: Path, store: Versions, processes: int, switches: int) -> None:
    """Switch back and forth between versions 1 and 2."""
    with serving(folder, store, copies=processes) as stack:
        load, meanwhile = Load(f"{stack.web.url}/inference", JPEG, store.is_right), 0
        with load.running():
            for number in range(switches):
                version = "21"[number % 2]
                before = len(load.statuses)
                store.point(version)
                wait_until(
                    lambda: versions(stack)[:1] == [version],  # noqa: B023
                    f"version {version} is the main one",
                    60,
                )
                meanwhile += len(load.statuses) - before
                load.wait_for(20)
        counted = metric(stack, "elastic_yolo_model_switches_total", channel="stable")

    assert Counter(load.statuses) == {200: len(load.statuses)}
    assert counted == switches
    # Requests go on while a version is loaded.
    assert meanwhile >= switches


@pytest.mark.parametrize(
    ("what", "reason", "why"),
    [
        ("weights", "model", "tiny.weights"),
        pytest.param("golden", "golden", "no circle with score 0.935", marks=pytest.mark.long),
    ],
)
def test_a_bad_version_is_refused_and_the_old_one_keeps_serving(
    tmp_path: Path, store: Versions, what: str, reason: str, why: str
) -> None:
    refused = {"channel": "stable", "reason": reason}
    with serving(tmp_path, store) as stack:
        load = Load(f"{stack.web.url}/inference", JPEG, store.is_right)
        with load.running():
            load.wait_for(20)
            store.publish_bad("2", what)
            wait_until(
                lambda: metric(stack, "elastic_yolo_model_refusals_total", **refused) > 0,
                "it is refused",
                60,
            )
            load.wait_for(50)
            ready = [httpx.get(f"{one.url}/readyz").status_code for one in stack.services]
            standing = metric(stack, "elastic_yolo_model_refused", channel="stable")
            serving_on = versions(stack)
            store.publish("3", "rhombus")
            wait_for_versions(stack, "3")
            cleared = metric(stack, "elastic_yolo_model_refused", channel="stable")
            refusals = metric(stack, "elastic_yolo_model_refusals_total", **refused)

    assert Counter(load.statuses) == {200: len(load.statuses)}
    assert ready == [200, 200, 200]
    assert serving_on == ["1"]
    assert (standing, cleared, refusals) == (1, 0, 1)
    log = (tmp_path / "inference.log").read_text()
    (line,) = re.findall(".*version refused.*", log)
    assert why in line


def test_a_starting_process_falls_back_to_the_version_before(
    tmp_path: Path, store: Versions
) -> None:
    """A channel points at a bad version, and a new pod starts."""
    store.publish_bad("2", "weights")
    with serving(tmp_path, store) as stack:
        response = httpx.post(f"{stack.web.url}/inference", files={"image": JPEG})
        refused = metric(stack, "elastic_yolo_model_refused", channel="stable")

    assert response.json()["model"]["version"] == "1"
    assert store.is_right(response)
    assert refused == 1


def test_a_starting_process_waits_for_its_model(tmp_path: Path) -> None:
    """On a new volume, the job that fills it may start later."""
    store = Versions(tmp_path)
    log = tmp_path / "log"
    env = {"MODEL_PATH": f"store:{store.root}/tiny@stable", "MODEL_WAIT_S": "60"}
    with Service("inference", free_port(), env, log) as service:
        wait_until(lambda: "waiting for the model" in log.read_text(), "it waits", 60)
        store.publish("1", "square")
        service.wait_ready()


def test_a_loaded_version_survives_the_loss_of_its_store(tmp_path: Path, store: Versions) -> None:
    with serving(tmp_path, store) as stack:
        store.root.rename(tmp_path / "unmounted")
        wait_until(
            lambda: metric(stack, "elastic_yolo_model_refused", channel="stable") == 1,
            "noticed",
            60,
        )
        response = httpx.post(f"{stack.web.url}/inference", files={"image": JPEG})
        (tmp_path / "unmounted").rename(store.root)
        wait_until(
            lambda: metric(stack, "elastic_yolo_model_refused", channel="stable") == 0, "back", 60
        )

    assert store.is_right(response)


@pytest.mark.long
def test_a_version_with_unreadable_files_is_loaded_later(tmp_path: Path, store: Versions) -> None:
    """A network file system fails for moments. A version with wrong files is not loaded again."""
    store.publish("2", "rhombus", channel=None)
    with serving(tmp_path, store) as stack:
        content = make_unreadable(store, "2")
        store.point("2")
        refused = {"channel": "stable", "reason": "model"}
        wait_until(
            lambda: metric(stack, "elastic_yolo_model_refusals_total", **refused) == 1,
            "refused",
            60,
        )
        before = versions(stack)
        make_readable(store, "2", content)
        wait_for_versions(stack, "2")

    assert before == ["1"]


@pytest.mark.parametrize(("width", "resize"), [(64, "letterbox"), (32, "stretch")])
def test_processes_of_different_input_formats_fail_no_request(
    tmp_path: Path, store: Versions, width: int, resize: Resize
) -> None:
    """One of two does not follow the channel: its volume hangs, or it refuses the version."""
    store.publish("2", "rhombus", channel=None, width=width, resize=resize)
    env = {"MODEL_PATH": f"store:{store.root}/tiny@stable", "MODEL_POLL_S": "0"}
    with (
        Service("inference", free_port(), env, tmp_path / "stays.log") as stays,
        Service("inference", free_port(), env | {"MODEL_POLL_S": "0.05"}) as follows,
    ):
        urls = {"INFERENCE_URL": f"{stays.url},{follows.url}"}
        with (
            Service("preprocess", free_port(), urls) as preprocess,
            Service("web", free_port(), {"PREPROCESS_URL": preprocess.url}) as web,
        ):
            for service in (stays, follows, preprocess, web):
                service.wait_ready()
            store.point("2")

            def versions_of(service: Service) -> list[str]:
                metadata = httpx.get(f"{service.url}/v2/models/tiny").json()
                return list(metadata["versions"])

            wait_until(lambda: versions_of(follows) == ["2"], "one has only version 2", 60)
            responses = [
                httpx.post(f"{web.url}/inference", files={"image": JPEG}) for _ in range(60)
            ]
            left = versions_of(stays)

    assert Counter(response.status_code for response in responses) == {200: 60}
    assert left == ["1"]
    assert {response.json()["model"]["version"] for response in responses} == {"1", "2"}
    assert all(store.is_right(response) for response in responses)


@pytest.mark.long
def test_a_hanging_store_delays_neither_other_models_nor_shutdown(
    tmp_path: Path, store: Versions
) -> None:
    """As NFS does while its server is down: here a named pipe without a writer."""
    other = Versions(tmp_path / "other")
    other.publish("1", "square")
    (Layout(other.root).models / "tiny").rename(Layout(other.root).models / "hung")
    env = {
        "MODEL_PATH": f"store:{store.root}/tiny@stable",
        "MODEL_HUNG_PATH": f"store:{other.root}/hung@stable",
        "MODEL_POLL_S": "0.05",
    }
    channel = Layout(other.root).channel("hung", "stable")
    with Service("inference", free_port(), env, tmp_path / "log") as service:
        service.wait_ready()

        def polled_at(model: str) -> float:
            return sample(service, "elastic_yolo_model_looked_timestamp_seconds", model=model)

        def wait_for_polls(model: str) -> None:
            for _ in range(3):
                before = polled_at(model)
                wait_until(lambda: polled_at(model) > before, "it is polled", 60)  # noqa: B023

        wait_for_polls("hung")
        channel.unlink()
        os.mkfifo(channel)
        wait_for_polls("tiny")
        first = polled_at("hung")
        wait_for_polls("tiny")
        second = polled_at("hung")
        ready = [
            httpx.get(f"{service.url}/v2/models/{name}/ready").status_code
            for name in ("tiny", "hung")
        ]
        status = service.stop()

    assert first == second
    assert ready == [200, 200]
    assert status == 0
