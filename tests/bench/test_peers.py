"""The peers, their requirements, and the work that all of them do."""

from __future__ import annotations

import re
import threading
import tomllib
from pathlib import Path

import pytest

from bench.peers.registry import ALL, Peer, Setting, choose_peers
from bench.peers.work import SharedDetector
from elastic_yolo.detector.engines.choose import EngineOptions
from elastic_yolo.detector.loading import load_detector
from elastic_yolo.lab.processes.stack import DEMO_MODEL, ROOT

PICTURE = ROOT / "client" / "images" / "scene-01.jpg"
SHARED = ("numpy", "opencv-python-headless", "openvino", "pydantic", "pyyaml", "simplejpeg")
# Peers load a network that is in the cache, and draw nothing.
NOT_SHARED = {"httpx", "onnx", "onnxruntime", "uharfbuzz"}
PINNED = re.compile(r"^([a-z0-9.-]+)(?:\[[a-z,]+\])?==([^ ;]+)", re.MULTILINE)


def versions(lock: Path) -> dict[str, str]:
    """Return the versions in a lock file; of several for one name, the first, which is ours."""
    return dict(reversed(PINNED.findall(lock.read_text())))


@pytest.mark.parametrize("peer", ALL, ids=lambda peer: peer.name)
def test_a_peer_has_a_server_and_requirements_with_hashes(peer: Peer) -> None:
    text = (peer.folder / "requirements.txt").read_text()
    blocks = re.split(r"^(?=\S)", text, flags=re.MULTILINE)[1:]

    assert (peer.folder / "server.py").is_file()
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in text


@pytest.mark.parametrize("peer", ALL, ids=lambda peer: peer.name)
def test_a_peer_runs_the_versions_that_the_detector_has_here(peer: Peer) -> None:
    theirs, ours = versions(peer.folder / "requirements.txt"), versions(ROOT / "locks" / "dev.txt")

    assert {name: theirs[name] for name in SHARED} == {name: ours[name] for name in SHARED}


def test_every_package_that_the_detector_needs_is_shared_with_the_peers() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.split("[<>=]", one)[0] for one in project["optional-dependencies"]["detect"]}

    assert needed - NOT_SHARED == set(SHARED)


def test_all_folders_are_registered() -> None:
    folders = {path.parent.name for path in (ROOT / "bench" / "peers").glob("*/server.py")}

    assert {peer.name for peer in ALL} == folders


def test_peers_are_chosen_by_name() -> None:
    assert choose_peers("none") == []
    assert choose_peers("all") == list(ALL)
    assert [peer.name for peer in choose_peers("ray,fastapi")] == ["ray", "fastapi"]
    with pytest.raises(ValueError, match="no peer 'torchserve'; choose from fastapi"):
        choose_peers("torchserve")


def test_settings_use_all_cores_and_the_first_suits_a_single_caller() -> None:
    settings = Peer("any").settings(cores=4)

    assert settings[0] == Setting(workers=1, threads=4, streams=1)
    assert all(setting.workers * setting.threads >= 4 for setting in settings)
    assert Peer("any", processes=False, streams=False).settings(4) == settings[:1]
    assert Peer("any").settings(cores=1) == [Setting(1, 1, 1)]


def test_threads_that_share_streams_find_what_one_alone_finds() -> None:
    detector, _ = load_detector(DEMO_MODEL, EngineOptions(threads=2, device="cpu"))
    data = PICTURE.read_bytes()
    alone = [[d.label, d.score, list(d.box)] for d in detector.detect(data, 0.5)]
    shared = SharedDetector(detector, detector.engine.split(2))
    answers: list[list[object]] = []

    def work() -> None:
        answers.append(shared.detect(data, 0.5))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert alone
    assert [[label for label, *_ in answer] for answer in answers] == [[d[0] for d in alone]] * 4
