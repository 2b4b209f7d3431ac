"""A model store with several versions of one model, and services that follow its channels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.engines.choose import EngineOptions
from elastic_yolo.detector.loading import load_detector
from elastic_yolo.lab.processes.stack import Service, Stack
from elastic_yolo.names import Resize
from elastic_yolo.store.layout import Layout
from elastic_yolo.store.writer import Writer
from tests.support.pictures import encode, plain
from tests.support.publishing import publish
from tests.support.tiny import write_tiny_model
from tests.support.waiting import wait_until

JPEG = encode(plain(64, 48), "JPEG")
GOLDEN = "golden: {picture: golden.png, expected: [[%s, 0.935, [16, 16, 16, 8]]]}\n"


class Versions:
    """A store with one model, called tiny, and the expected detections of each version."""

    def __init__(self, folder: Path) -> None:
        """Create nothing yet."""
        self.root = folder / "store"
        self.expected: dict[str, list[list[object]]] = {}
        self._sources = folder / "sources"
        self._ids: dict[str, str] = {}

    def publish(
        self,
        version: str,
        label: str,
        *,
        channel: str | None = "stable",
        width: int = 32,
        resize: Resize = "letterbox",
    ) -> None:
        """Publish a version that labels every object `label`.

        Its input is `width` pixels wide, and takes pictures that are fitted by `resize`.
        """
        manifest = f"resize: {resize}\n"
        folder = write_tiny_model(self._sources / version, width=width, manifest=manifest)
        (folder / "tiny.names").write_text(f"{label}\ncircle\n")
        detector = load_detector(folder, EngineOptions(threads=1))[0]
        self.expected[detector.model.digest] = boxes(detector)
        self._publish(version, folder, channel)

    def publish_bad(self, version: str, what: str) -> None:
        """Publish, past all checks, a version whose `what`, golden or weights, is wrong."""
        wrong_golden = GOLDEN % "circle" if what == "golden" else ""
        folder = write_tiny_model(self._sources / version, manifest=wrong_golden)
        if what == "golden":
            (folder / "golden.png").write_bytes(encode(plain(32, 32)))
        else:
            (folder / "tiny.weights").write_bytes(b"half a model")
        self._publish(version, folder, "stable")

    def point(self, version: str, channel: str = "stable") -> None:
        """Point a channel at a version."""
        Writer(Layout(self.root)).switch_channel("tiny", channel, self._ids[version])

    def folder(self, version: str) -> Path:
        """Return the folder with a version's files."""
        return Layout(self.root).version("tiny", self._ids[version])

    def is_right(self, response: httpx.Response) -> bool:
        """Return whether the boxes are those of the version that the response names."""
        body = response.json()
        return bool(body["data"] == self.expected[body["model"]["digest"]])

    def _publish(self, version: str, folder: Path, channel: str | None) -> None:
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        record = publish(self.root, files, name="tiny", version=version, channel=channel)
        self._ids[version] = record.id


def boxes(detector: Detector) -> list[list[object]]:
    """Return the detections in JPEG, in the form of web's responses."""
    return [[item.label, item.score, list(item.box)] for item in detector.detect(JPEG)]


@contextmanager
def serving(
    folder: Path, store: Versions, channels: str = "tiny@stable", *, copies: int = 1
) -> Iterator[Stack]:
    """Run the services with `copies` inference processes, which poll the store every 50 ms."""
    env = {"MODEL_PATH": f"store:{store.root}/{channels}", "MODEL_POLL_S": "0.05"}
    with Stack(logs=folder, env={"inference": env}, copies=copies) as stack:
        yield stack


def versions(stack: Stack) -> list[str]:
    """Return the versions in service, the main one first; empty while processes differ."""
    processes = (stack.inference, *stack.copies)
    found = [httpx.get(f"{one.url}/v2/models/tiny").json()["versions"] for one in processes]
    return found[0] if all(one == found[0] for one in found) else []


def wait_for_versions(stack: Stack, *expected: str) -> None:
    """Return as soon as all processes serve these versions, the main one first."""
    wait_until(lambda: versions(stack) == [*expected], f"versions {expected} serve", 60)


def metric(stack: Stack, name: str, **labels: str) -> float:
    """Return a metric of the inference service, or 0 if it is not exported."""
    return sample(stack.inference, name, **labels)


def sample(service: Service, name: str, **labels: str) -> float:
    """Return a metric of a service, or 0 if it is not exported."""
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    for line in httpx.get(f"{service.url}/metrics").text.splitlines():
        if line.startswith(name) and all(one in line for one in wanted):
            return float(line.rsplit(" ", 1)[1])
    return 0.0
