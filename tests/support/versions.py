"""A store with a model in several versions, and services that follow it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.engines.choose import EngineOptions
from elastic_yolo.detector.loading import load_detector
from elastic_yolo.lab.processes.stack import Service, Stack
from elastic_yolo.store.layout import Layout
from elastic_yolo.store.writer import Writer
from tests.support.filling import put
from tests.support.pictures import encode, plain
from tests.support.tiny import write_tiny_model

JPEG = encode(plain(64, 48), "JPEG")
GOLDEN = "golden: {picture: golden.png, expected: [[%s, 0.935, [16, 16, 16, 8]]]}\n"


class Versions:
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
        self.expected[detector.model.digest] = boxes(detector)
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
        Writer(Layout(self.root)).switch_channel("tiny", channel, self._ids[version])

    def folder(self, version: str) -> Path:
        """Return where a version's files are."""
        return Layout(self.root).version("tiny", self._ids[version])

    def is_right(self, answer: httpx.Response) -> bool:
        """Say whether the boxes are those of the version that the answer names."""
        body = answer.json()
        return bool(body["data"] == self.expected[body["model"]["digest"]])

    def _put(self, version: str, folder: Path, channel: str | None) -> None:
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        record = put(self.root, files, name="tiny", version=version, channel=channel)
        self._ids[version] = record.id


def boxes(detector: Detector) -> list[list[object]]:
    """Return what the services answer for JPEG."""
    return [[item.label, item.score, list(item.box)] for item in detector.detect(JPEG)]


@contextmanager
def serving(
    folder: Path, store: Versions, channels: str = "tiny@stable", *, copies: int = 1
) -> Iterator[Stack]:
    """Run the services with so many inference processes, which look at the store all the time."""
    env = {"MODEL_PATH": f"store:{store.root}/{channels}", "MODEL_POLL_S": "0.05"}
    with Stack(logs=folder, env={"inference": env}, copies=copies) as stack:
        yield stack


def versions(stack: Stack) -> list[str]:
    """Return which versions answer, the main one first; empty while processes differ."""
    processes = (stack.inference, *stack.copies)
    found = [httpx.get(f"{one.url}/v2/models/tiny").json()["versions"] for one in processes]
    return found[0] if all(one == found[0] for one in found) else []


def metric(stack: Stack, name: str, **labels: str) -> float:
    """Return a metric of the inference service, 0 where it is not exported."""
    return sample(stack.inference, name, **labels)


def sample(service: Service, name: str, **labels: str) -> float:
    """Return a metric of a service, 0 where it is not exported."""
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    for line in httpx.get(f"{service.url}/metrics").text.splitlines():
        if line.startswith(name) and all(one in line for one in wanted):
            return float(line.rsplit(" ", 1)[1])
    return 0.0
