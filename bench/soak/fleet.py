"""The processes of a soak, one web and two of each tier behind it, and a store of versions."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.soak.exchange import Address
from elastic_yolo.digest import digest_of_file
from elastic_yolo.durable import make_folder
from elastic_yolo.lab.processes.stack import Service, StackError, free_port
from elastic_yolo.store.layout import Layout
from elastic_yolo.store.writer import Writer

MODEL = "soak"
"""The name of the model in the store; the folder's own is a second model."""
LABELS = {"1": "", "2": "second "}
"""The versions in the store, and what each puts in front of the labels."""
_COPIES = 2
_POLL_S = 0.1
_READY_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 60.0


@dataclass
class Member:
    """A process of the fleet, under a name that a replacement keeps."""

    name: str
    service: Service

    @property
    def address(self) -> Address:
        """Where it listens; a replacement listens there too."""
        return Address(self.name, self.service.port)

    def start(self) -> None:
        """Start it or its replacement; raises OSError. Call it from the main thread."""
        self.service.start()

    def kill(self) -> None:
        """End it without a drain."""
        self.service.process.kill()
        self.service.process.wait()

    async def wait_ready(self) -> None:
        """Return when it serves; raises StackError."""
        async with asyncio.timeout(_READY_TIMEOUT_S):
            while not await asyncio.to_thread(self.service.has_started):  # noqa: ASYNC110
                await asyncio.sleep(_POLL_S)

    async def stop(self) -> int:
        """Drain it and return its exit status; raises TimeoutError."""
        self.service.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(_STOP_TIMEOUT_S):
            while (status := self.service.process.poll()) is None:  # noqa: ASYNC110
                await asyncio.sleep(_POLL_S)
        return status


class Fleet:
    """All processes, and the store."""

    def __init__(self, folder: Path, model: Path) -> None:
        """Publish both versions in a store in `folder`; start nothing."""
        self._writer = Writer(Layout(folder / "store"))
        self._ids = {
            version: _publish(self._writer, model, folder / f"version-{version}", version)
            for version in LABELS
        }
        self.version = next(iter(LABELS))
        self._writer.switch_channel(MODEL, "stable", self._ids[self.version])
        inference = {
            "MODEL_PATH": f"store:{folder / 'store'}/{MODEL}@stable",
            "MODEL_SECOND_PATH": str(model),
            "MODEL_POLL_S": "0.5",
            "PRECISION": "fp32",
            "DEVICE": "cpu",
            "ENGINE": "openvino",
            "THREADS": "1",
            "CACHE_DIR": str(folder / "cache"),
        }
        make_folder(folder / "cache")
        self.inference = _members("inference", inference, folder)
        urls = _urls(self.inference)
        self.preprocess = _members("preprocess", {"INFERENCE_URL": urls, "THREADS": "1"}, folder)
        self.web = _member("web", "web", {"PREPROCESS_URL": _urls(self.preprocess)}, folder)

    @property
    def members(self) -> list[Member]:
        """All processes, from inference to web."""
        return [*self.inference, *self.preprocess, self.web]

    @property
    def inner(self) -> list[Member]:
        """Those behind web."""
        return [*self.inference, *self.preprocess]

    @property
    def replaceable(self) -> list[Member]:
        """Those beside which another one of their tier serves, from the start to the end."""
        return [*self.inference[1:], *self.preprocess[1:]]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start all processes, and end those that run at the end, web first."""
        try:
            for member in self.members:
                member.start()
            yield
        finally:
            for member in reversed(self.members):
                if member.service.is_running():
                    member.service.process.send_signal(signal.SIGCONT)
                    member.service.stop()

    async def wait_ready(self) -> None:
        """Return when all processes serve; raises StackError."""
        await asyncio.gather(*(member.wait_ready() for member in self.members))

    def find_ended(self) -> list[Member]:
        """Return the processes that have ended."""
        return [member for member in self.members if not member.service.is_running()]

    async def switch_version(self, version: str) -> None:
        """Point the channel at a version and wait until every process serves it.

        Raises StackError or TimeoutError.
        """
        await asyncio.to_thread(self._writer.switch_channel, MODEL, "stable", self._ids[version])
        self.version = version
        async with asyncio.timeout(_READY_TIMEOUT_S):
            while not await asyncio.to_thread(self._serves, version):  # noqa: ASYNC110
                await asyncio.sleep(_POLL_S)

    def _serves(self, version: str) -> bool:
        try:
            return all(
                json.loads(member.service.get(f"/v2/models/{MODEL}"))["versions"] == [version]
                for member in self.inference
            )
        except OSError as error:
            raise StackError(f"inference does not answer: {error}") from None


def _member(tier: str, name: str, env: dict[str, str], folder: Path) -> Member:
    # In a session of its own: Ctrl-C ends the load first.
    service = Service(tier, free_port(), env, folder / f"{name}.log", own_session=True)
    return Member(name, service)


def _members(tier: str, env: dict[str, str], folder: Path) -> list[Member]:
    return [_member(tier, f"{tier}-{number + 1}", env, folder) for number in range(_COPIES)]


def _urls(members: list[Member]) -> str:
    return ",".join(member.service.url for member in members)


def _publish(writer: Writer, model: Path, folder: Path, version: str) -> str:
    """Publish a model with other labels as a version; return its identity in the store."""
    folder.mkdir(parents=True)
    for path in model.iterdir():
        # Not model.yaml: it has the digest of the original labels.
        if path.suffix in (".cfg", ".weights"):
            shutil.copyfile(path, folder / path.name)
        elif path.suffix == ".names":
            labels = path.read_text(encoding="utf-8").splitlines()
            text = "".join(f"{LABELS[version]}{label}\n" for label in labels)
            (folder / path.name).write_text(text, encoding="utf-8")
    make_folder(writer.layout.incoming)
    files = {}
    for path in sorted(folder.iterdir()):
        part = writer.layout.incoming / path.name
        shutil.copyfile(path, part)
        files[path.name] = writer.add_blob(part, digest_of_file(part))
    return writer.publish(MODEL, version, files, "a soak", lambda _: None).id
