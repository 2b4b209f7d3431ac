"""A model is changed under load: every request is answered, by one version or the other."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from detector.detector import Detector
from detector.engines.choose import EngineOptions
from detector.loading import load_detector
from store.layout import Layout
from store.writer import Writer
from tests.pictures import encode, plain
from tests.services.load import Load
from tests.services.waiting import wait_until
from tests.store.filling import put
from tests.tiny import write_tiny_model
from tools.stack import Stack

JPEG = encode(plain(64, 48), "JPEG")
SWAPS = 20
GOLDEN = "golden: {picture: golden.png, expected: [[%s, 0.935, [16, 16, 16, 8]]]}\n"


class Store:
    """A store with one model, and what each of its versions must answer."""

    def __init__(self, folder: Path) -> None:
        """Put nothing in yet."""
        self.root = folder / "store"
        self.expected: dict[str, list[list[object]]] = {}
        self._sources = folder / "sources"
        self._ids: dict[str, str] = {}

    def publish(
        self, version: str, label: str, *, channel: str | None = "stable", width: int = 32
    ) -> None:
        """Publish a version that calls everything `label`, in an input of `width` pixels."""
        folder = write_tiny_model(self._sources / version, width=width)
        (folder / "tiny.names").write_text(f"{label}\ncircle\n")
        detector = load_detector(folder, EngineOptions(threads=1))[0]
        self.expected[detector.model.digest] = found(detector)
        self._put(version, folder, channel)

    def publish_bad(self, version: str, what: str) -> None:
        """Publish, past all checks, what must not serve."""
        wrong_answer = GOLDEN % "circle" if what == "golden" else ""
        folder = write_tiny_model(self._sources / version, manifest=wrong_answer)
        if what == "golden":
            (folder / "golden.png").write_bytes(encode(plain(32, 32)))
        else:
            (folder / "tiny.weights").write_bytes(b"half a model")
        self._put(version, folder, "stable")

    def point(self, version: str, channel: str = "stable") -> None:
        """Switch a channel."""
        Writer(Layout(self.root)).point("tiny", channel, self._ids[version])

    def is_right(self, answer: httpx.Response) -> bool:
        """Say whether the boxes are those of the version that the answer names."""
        body = answer.json()
        return bool(body["data"] == self.expected[body["model"]["digest"]])

    def _put(self, version: str, folder: Path, channel: str | None) -> None:
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        record = put(self.root, files, name="tiny", version=version, channel=channel)
        self._ids[version] = record.id


def found(detector: Detector) -> list[list[object]]:
    """Return what the services answer for JPEG."""
    return [[item.label, item.score, list(item.box)] for item in detector.detect(JPEG)]


@contextmanager
def serving(
    folder: Path, store: Store, channels: str = "tiny@stable", **env: str
) -> Iterator[Stack]:
    place = {"MODEL_PATH": f"store:{store.root}/{channels}", "MODEL_POLL_S": "0.05", **env}
    with Stack(logs=folder, env={"inference": place}, copies=1) as stack:
        yield stack


def versions(stack: Stack) -> list[str]:
    """Return which versions answer, the main one first."""
    return httpx.get(f"{stack.inference.url}/v2/models/tiny").json()["versions"]


def metric(stack: Stack, name: str, **labels: str) -> float:
    """Return a metric of the inference service, 0 where it is not exported."""
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    for line in httpx.get(f"{stack.inference.url}/metrics").text.splitlines():
        if line.startswith(name) and all(one in line for one in wanted):
            return float(line.rsplit(" ", 1)[1])
    return 0.0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    filled = Store(tmp_path)
    filled.publish("1", "square")
    return filled


@pytest.mark.parametrize("width", [32, 64])
def test_twenty_swaps_under_load_fail_no_request(tmp_path: Path, store: Store, width: int) -> None:
    """To and fro between two versions with other labels, of one input size or of two."""
    store.publish("2", "rhombus", channel=None, width=width)
    with serving(tmp_path, store) as stack:
        load = Load(f"{stack.web.url}/inference", JPEG, store.is_right)
        started = time.monotonic()
        with load.running():
            for swap in range(SWAPS):
                version = "12"[(swap + 1) % 2]
                store.point(version)
                wait_until(lambda: versions(stack)[0] == version, "it is switched")  # noqa: B023
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
    tmp_path: Path, store: Store, what: str, reason: str, why: str
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
    tmp_path: Path, store: Store
) -> None:
    """A channel points at a bad version, and a new pod comes."""
    store.publish_bad("2", "weights")
    with serving(tmp_path, store) as stack:
        answer = httpx.post(f"{stack.web.url}/inference", files={"image": JPEG})
        refused = metric(stack, "elastic_yolo_model_refused", channel="stable")

    assert answer.json()["model"]["version"] == "1"
    assert store.is_right(answer)
    assert refused == 1


def test_a_store_that_goes_away_leaves_the_version_that_is_loaded(
    tmp_path: Path, store: Store
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
