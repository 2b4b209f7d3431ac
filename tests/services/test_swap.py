"""A model is changed under load: every request is answered, by one version or the other."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from elastic_yolo.lab.processes.stack import Service, free_port
from elastic_yolo.store.layout import Layout
from tests.support.load import Load
from tests.support.versions import JPEG, Versions, metric, sample, serving, versions
from tests.support.waiting import wait_until

SWAPS = 20


@pytest.fixture
def store(tmp_path: Path) -> Versions:
    filled = Versions(tmp_path)
    filled.publish("1", "square")
    return filled


@pytest.mark.parametrize(("width", "processes"), [(32, 1), (64, 1), (64, 2)])
def test_twenty_swaps_under_load_fail_no_request(
    tmp_path: Path, store: Versions, width: int, processes: int
) -> None:
    """Back and forth between two versions with other labels, of one input size or of two.

    Several processes do not switch at the same moment.
    """
    store.publish("2", "rhombus", channel=None, width=width)
    with serving(tmp_path, store, copies=processes) as stack:
        load = Load(f"{stack.web.url}/inference", JPEG, store.is_right)
        started = time.monotonic()
        with load.running():
            for swap in range(SWAPS):
                version = "12"[(swap + 1) % 2]
                store.point(version)
                wait_until(lambda: versions(stack)[:1] == [version], "it is switched")  # noqa: B023
                load.wait_for(20)
        seconds = time.monotonic() - started
        switches = metric(stack, "elastic_yolo_model_switches_total", channel="stable")

    assert Counter(load.statuses) == {200: len(load.statuses)}
    assert switches == SWAPS
    assert len(load.statuses) / seconds > 20


@pytest.mark.parametrize(
    ("what", "reason", "why"),
    [
        ("weights", "model", "tiny.weights"),
        ("golden", "golden", "no circle with score 0.935"),
    ],
)
def test_a_bad_version_under_load_is_refused_and_the_old_one_serves_on(
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
            )
            load.wait_for(50)
            ready = [httpx.get(f"{one.url}/readyz").status_code for one in stack.services]
            standing = metric(stack, "elastic_yolo_model_refused", channel="stable")
            serving_on = versions(stack)
            store.publish("3", "rhombus")
            wait_until(lambda: versions(stack) == ["3"], "the next good one is taken")
            cleared = metric(stack, "elastic_yolo_model_refused", channel="stable")
            refusals = metric(stack, "elastic_yolo_model_refusals_total", **refused)

    assert Counter(load.statuses) == {200: len(load.statuses)}
    assert ready == [200, 200, 200]
    assert serving_on == ["1"]
    assert (standing, cleared, refusals) == (1, 0, 1)
    log = (tmp_path / "inference.log").read_text()
    (line,) = re.findall(".*version refused.*", log)
    assert why in line


def test_a_process_that_starts_goes_back_to_the_version_before(
    tmp_path: Path, store: Versions
) -> None:
    """A channel points at a bad version, and a new pod comes."""
    store.publish_bad("2", "weights")
    with serving(tmp_path, store) as stack:
        answer = httpx.post(f"{stack.web.url}/inference", files={"image": JPEG})
        refused = metric(stack, "elastic_yolo_model_refused", channel="stable")

    assert answer.json()["model"]["version"] == "1"
    assert store.is_right(answer)
    assert refused == 1


def test_a_process_that_starts_waits_for_its_model(tmp_path: Path) -> None:
    """On a new volume the job that fills it may come second."""
    store = Versions(tmp_path)
    log = tmp_path / "log"
    env = {"MODEL_PATH": f"store:{store.root}/tiny@stable", "MODEL_WAIT_S": "60"}
    with Service("inference", free_port(), env, log) as service:
        wait_until(lambda: "waiting for the model" in log.read_text(), "it waits")
        store.publish("1", "square")
        service.wait_ready()


def test_a_store_that_goes_away_leaves_the_version_that_is_loaded(
    tmp_path: Path, store: Versions
) -> None:
    with serving(tmp_path, store) as stack:
        store.root.rename(tmp_path / "away")
        wait_until(
            lambda: metric(stack, "elastic_yolo_model_refused", channel="stable") == 1, "noticed"
        )
        answer = httpx.post(f"{stack.web.url}/inference", files={"image": JPEG})
        (tmp_path / "away").rename(store.root)
        wait_until(
            lambda: metric(stack, "elastic_yolo_model_refused", channel="stable") == 0, "back"
        )

    assert store.is_right(answer)


def test_what_could_not_be_read_is_tried_again(tmp_path: Path, store: Versions) -> None:
    """A network file system has such moments. What is wrong in itself is not tried again."""
    store.publish("2", "rhombus", channel=None)
    weights = store.folder("2") / "tiny.weights"
    content = weights.read_bytes()
    with serving(tmp_path, store) as stack:
        weights.unlink()
        weights.symlink_to(weights)
        store.point("2")
        refused = {"channel": "stable", "reason": "model"}
        wait_until(
            lambda: metric(stack, "elastic_yolo_model_refusals_total", **refused) == 1, "refused"
        )
        before = versions(stack)
        weights.unlink()
        weights.write_bytes(content)
        wait_until(lambda: versions(stack) == ["2"], "it is taken")

    assert before == ["1"]


def test_processes_that_differ_in_input_size_for_good_fail_no_request(
    tmp_path: Path, store: Versions
) -> None:
    """One of two does not follow its channel: its volume hangs, or it refuses the version."""
    store.publish("2", "rhombus", channel=None, width=64)
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

            def there(service: Service) -> list[str]:
                described = httpx.get(f"{service.url}/v2/models/tiny").json()
                return list(described["versions"])

            wait_until(lambda: there(follows) == ["2"], "one has only the new version")
            answers = [httpx.post(f"{web.url}/inference", files={"image": JPEG}) for _ in range(60)]
            left = there(stays)

    assert Counter(answer.status_code for answer in answers) == {200: 60}
    assert left == ["1"]
    assert {answer.json()["model"]["version"] for answer in answers} == {"1", "2"}
    assert all(store.is_right(answer) for answer in answers)


def test_a_store_that_hangs_holds_up_neither_other_models_nor_the_end(
    tmp_path: Path, store: Versions
) -> None:
    """As NFS does when its server is away: here a named pipe that nobody writes into."""
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

        def looked(model: str) -> float:
            return sample(service, "elastic_yolo_model_looked_timestamp_seconds", model=model)

        def wait_for_looks(model: str) -> None:
            for _ in range(3):
                before = looked(model)
                wait_until(lambda: looked(model) > before, "it is looked at")  # noqa: B023

        wait_for_looks("hung")
        channel.unlink()
        os.mkfifo(channel)
        wait_for_looks("tiny")
        first = looked("hung")
        wait_for_looks("tiny")
        second = looked("hung")
        answers = [
            httpx.get(f"{service.url}/v2/models/{name}/ready").status_code
            for name in ("tiny", "hung")
        ]
        status = service.stop()

    assert first == second
    assert answers == [200, 200]
    assert status == 0
