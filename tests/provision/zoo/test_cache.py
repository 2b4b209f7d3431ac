"""Models of the zoo in the user's cache, from real servers on loopback."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from elastic_yolo.detector.model import read_model
from elastic_yolo.digest import digest_of_bytes
from elastic_yolo.provision.errors import ProvisionError, SourceUnavailable, WrongContent
from elastic_yolo.provision.zoo import ZooModel, cached_folder, find_zoo_model, models_folder
from elastic_yolo.provision.zoo.cache import pull_model
from tests.provision.file_server import Site, serving
from tests.provision.zoo.zoo_server import CFG, ENTRY, SIZE, Pulling, made_up, weights
from tests.support.real_models import real_model

CONTENT = weights()
CFG_BYTES = len(CFG)

Make = Callable[..., ZooModel]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "elastic-yolo" / "models"


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site({"w": CONTENT})) as served:
        yield served


@pytest.fixture
def cfgs() -> Iterator[Site]:
    with serving(Site({"c": CFG})) as served:
        yield served


@pytest.fixture
def entry(cfgs: Site) -> Make:
    """Makes entries whose .cfg is at `cfgs`."""
    return partial(made_up, [f"{cfgs.url}/c"])


def test_a_pulled_folder_is_a_checked_model(site: Site, cache: Path, entry: Make) -> None:
    folder = Pulling().pull(entry(f"{site.url}/w", content=CONTENT))

    model = read_model(folder)
    assert folder == cache / ENTRY
    assert (model.name, model.version) == (ENTRY, "2018.1")
    assert (model.network.classes, model.resize) == (80, "stretch")
    assert (folder / f"{ENTRY}.cfg").read_bytes() == CFG
    assert (folder / f"{ENTRY}.weights").read_bytes() == CONTENT
    damaged = bytearray(CONTENT)
    damaged[1000] ^= 1
    (folder / f"{ENTRY}.weights").write_bytes(damaged)
    with pytest.raises(Exception, match=rf"{ENTRY}.weights: expected sha256:"):
        read_model(folder)


@pytest.mark.parametrize("name", [f"{ENTRY}.weights", f"{ENTRY}.cfg"])
def test_a_damaged_file_of_the_right_size_is_pulled_again_if_digests_are_checked(
    site: Site, entry: Make, name: str
) -> None:
    model = entry(f"{site.url}/w", content=CONTENT)
    folder = Pulling().pull(model)
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[:100] + b"Z" + whole[101:])

    again = Pulling()
    assert pull_model(model, lambda *_: None, again.lines.append) == folder
    assert again.lines == []
    pull_model(model, lambda *_: None, again.lines.append, check_digests=True)

    assert (folder / name).read_bytes() == whole
    assert name in again.lines[0]
    assert again.lines[0].endswith(f": pulling {ENTRY} again")


def test_a_complete_folder_needs_no_network(site: Site, cfgs: Site, entry: Make) -> None:
    model = entry(f"{site.url}/w", content=CONTENT)
    first = Pulling().pull(model)
    site.requests.clear()
    cfgs.requests.clear()
    again = Pulling()

    assert again.pull(model) == first
    assert (site.requests, cfgs.requests, again.lines, again.progress) == ([], [], [], [])


def test_the_cfg_is_fetched_before_the_weights(site: Site, cfgs: Site, entry: Make) -> None:
    """Each file has a line with its size and source, and its own progress."""
    pulling = Pulling()
    pulling.pull(entry(f"{site.url}/w", content=CONTENT))

    assert pulling.lines == [
        f"{ENTRY}: {ENTRY}.cfg, 0.3 kB from {cfgs.url}/c",
        f"{ENTRY}: {ENTRY}.weights, {SIZE / 1e6:.1f} MB from {site.url}/w",
    ]
    assert pulling.progress[0] == (f"{ENTRY}.cfg", CFG_BYTES, CFG_BYTES)
    assert pulling.progress[-1] == (f"{ENTRY}.weights", SIZE, SIZE)


def test_without_the_cfg_the_weights_are_not_fetched(site: Site) -> None:
    with serving(Site({"c": CFG + b"#"})) as longer, serving(Site({"c": CFG[::-1]})) as other:
        model = made_up([f"{longer.url}/c", f"{other.url}/c"], f"{site.url}/w", content=CONTENT)
        with pytest.raises(WrongContent, match=rf"^{ENTRY}: {ENTRY}.cfg: none of its 2 sources"):
            Pulling().pull(model)

    assert site.requests == []


def test_the_cfg_has_fallbacks_and_a_bounded_size(site: Site, cfgs: Site) -> None:
    with serving(Site({"c": CFG * 1000}, chunked=True)) as endless:
        sources = [f"{endless.url}/c", f"{cfgs.url}/c"]
        pulling = Pulling()
        folder = pulling.pull(made_up(sources, f"{site.url}/w", content=CONTENT))

    assert pulling.lines[1] == f"{sources[0]}: more than {CFG_BYTES} bytes: trying {sources[1]}"
    assert (folder / f"{ENTRY}.cfg").read_bytes() == CFG


def test_a_shipped_cfg_is_not_downloaded() -> None:
    model = find_zoo_model("yolov3-tiny")
    content = (real_model("yolov3-tiny") / "yolov3-tiny.weights").read_bytes()
    with serving(Site({"w": content})) as server:
        changed = model.weights.model_copy(update={"sources": (f"{server.url}/w",)})
        pulling = Pulling()
        folder = pulling.pull(model.model_copy(update={"weights": changed}))

    assert pulling.lines == [f"yolov3-tiny: yolov3-tiny.weights, 35.4 MB from {server.url}/w"]
    assert (folder / "yolov3-tiny.cfg").read_bytes() == model.shipped[
        "yolov3-tiny.cfg"
    ].read_bytes()
    assert read_model(folder).golden is not None


def test_the_next_source_is_tried_with_one_line(site: Site, entry: Make) -> None:
    with serving(Site({}, statuses=[503])) as busy, serving(Site({})) as empty:
        pulling = Pulling()
        sources = (f"{busy.url}/w", f"{empty.url}/w", f"{site.url}/w")
        folder = pulling.pull(entry(*sources, content=CONTENT))

    assert (folder / f"{ENTRY}.weights").read_bytes() == CONTENT
    assert len(busy.requests) == len(empty.requests) == len(site.requests) == 1
    assert pulling.lines[2:] == [
        f"{sources[0]}: status 503 Service Unavailable: trying {sources[1]}",
        f"{sources[1]}: status 404 Not Found: trying {sources[2]}",
    ]


def test_a_page_in_place_of_the_weights_is_not_read(site: Site, entry: Make) -> None:
    """Sites that are gone redirect every address to a page."""
    page = Site({"w": b"<html>" * 10_000})
    with serving(page):
        pulling = Pulling()
        pulling.pull(entry(f"{page.url}/w", f"{site.url}/w", content=CONTENT))

    assert f"{page.url}/w: expected {SIZE:,} bytes, found 60,000: trying" in pulling.lines[2]
    assert {total for _, _, total in pulling.progress} == {CFG_BYTES, SIZE}


def test_an_endless_response_is_cut_off_at_the_size(site: Site, entry: Make) -> None:
    endless = Site({"w": CONTENT + b"more" * 100_000}, chunked=True)
    with serving(endless):
        pulling = Pulling()
        pulling.pull(entry(f"{endless.url}/w", f"{site.url}/w", content=CONTENT))

    assert f"more than {SIZE:,} bytes" in pulling.lines[2]


def test_a_wrong_digest_everywhere_leaves_no_folder(site: Site, cache: Path, entry: Make) -> None:
    other = weights(2)
    model = entry(f"{site.url}/w", f"{site.url}/w?again", content=other)
    with pytest.raises(WrongContent, match=rf"^{ENTRY}: .*none of its 2 sources .* expected sha"):
        Pulling().pull(model)

    assert not (cache / ENTRY).exists()
    assert not any((cache / ".download" / "incoming").iterdir())


def test_an_interrupted_pull_is_resumed_by_the_next(cache: Path, cfgs: Site, entry: Make) -> None:
    cuts = iter([500_000, 0])
    site = Site({"w": CONTENT}, cut_after=lambda: next(cuts, 10**9))
    with serving(site):
        model = entry(f"{site.url}/w", content=CONTENT)
        with pytest.raises(SourceUnavailable, match="is there a network"):
            Pulling().pull(model)
        assert not (cache / ENTRY).exists()

        Pulling().pull(model)

    assert [wanted for _, wanted in site.requests][-1] == "bytes=500000-"
    assert site.sent == SIZE
    assert len(cfgs.requests) == 1
    assert not any((cache / ".download" / "blobs").iterdir())


def test_a_damaged_cfg_of_an_interrupted_pull_is_fetched_again(
    site: Site, cfgs: Site, entry: Make, cache: Path
) -> None:
    with pytest.raises(ProvisionError):
        Pulling().pull(entry(f"{site.url}/none", content=CONTENT))
    (kept,) = (cache / ".download" / "blobs").iterdir()
    kept.write_bytes(CFG[:100])

    folder = Pulling().pull(entry(f"{site.url}/w", content=CONTENT))

    assert (folder / f"{ENTRY}.cfg").read_bytes() == CFG
    assert len(cfgs.requests) == 2


def test_without_network_the_error_is_one_line() -> None:
    nowhere = ("http://127.0.0.1:1/a", "http://127.0.0.1:1/b")
    pulling = Pulling()
    with pytest.raises(ProvisionError) as raised:
        pulling.pull(made_up(nowhere, *nowhere, content=CONTENT))

    text = str(raised.value)
    assert pulling.lines == [f"{ENTRY}: {ENTRY}.cfg, 0.3 kB from {nowhere[0]}"]
    assert text.startswith(f"{ENTRY}: {ENTRY}.cfg: none of its 2 sources can be reached")
    assert text.endswith("is there a network?")
    assert "\n" not in text


def test_sources_that_failed_are_named_before_the_progress_of_the_next(
    site: Site, entry: Make
) -> None:
    nowhere = "http://127.0.0.1:1/a"
    pulling = Pulling()
    seen: list[int] = []
    model = entry(nowhere, f"{site.url}/w", content=CONTENT)
    pull_model(model, lambda *_: seen.append(len(pulling.lines)), pulling.lines.append)

    assert pulling.lines[2].startswith(f"{nowhere}: no connection")
    assert pulling.lines[2].endswith(f": trying {site.url}/w")
    assert seen[-1] == 3


def test_two_pulls_at_once_download_once(site: Site, entry: Make) -> None:
    model = entry(f"{site.url}/w", content=CONTENT)
    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(lambda _: Pulling().pull(model), range(4)))

    assert folders == {models_folder() / ENTRY}
    assert len(site.requests) == 1


def test_a_second_process_says_that_it_waits(cache: Path, entry: Make) -> None:
    """The lock is the kernel's: the death of its holder releases it."""
    cache.mkdir(parents=True)
    lock = cache / f".{ENTRY}.lock"
    program = (
        "import fcntl, sys, time; file = open(sys.argv[1], 'w'); "
        "fcntl.flock(file, fcntl.LOCK_EX); print('locked', flush=True); time.sleep(1000)"
    )
    holder = subprocess.Popen([sys.executable, "-c", program, lock], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    pulling, done = Pulling(), threading.Event()
    with serving(Site({"w": CONTENT})) as site:
        model = entry(f"{site.url}/w", content=CONTENT)
        waiting = threading.Thread(target=lambda: (pulling.pull(model), done.set()))
        waiting.start()
        while not pulling.lines:
            time.sleep(0.01)
        assert "another process is pulling it" in pulling.lines[0]
        assert (site.requests, done.is_set()) == ([], False)
        os.kill(holder.pid, signal.SIGKILL)
        holder.communicate()
        waiting.join(60)

    assert done.is_set()
    assert cached_folder(model) == cache / ENTRY


def test_an_incomplete_or_older_folder_is_replaced(site: Site, cache: Path, entry: Make) -> None:
    model = entry(f"{site.url}/w", content=CONTENT)
    folder = Pulling().pull(model)
    for name in ("coco.names", f"{ENTRY}.cfg"):
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        assert cached_folder(model) is None
        (folder / name).write_bytes(content)
    (folder / f"{ENTRY}.cfg").write_bytes(CFG[:100])
    assert cached_folder(model) is None

    assert cached_folder(model.model_copy(update={"version": "1999.1"})) is None
    Pulling().pull(model)

    assert read_model(cached_folder(model) or Path()).name == ENTRY
    names = {path.name for path in cache.iterdir()}
    assert names == {ENTRY, f".{ENTRY}.lock", ".download"}


def test_an_unstated_digest_is_recorded_at_the_first_pull(site: Site, entry: Make) -> None:
    pulling = Pulling()
    folder = pulling.pull(entry(f"{site.url}/w"))

    digest = digest_of_bytes(CONTENT)
    assert pulling.lines[-1] == (
        f"{ENTRY}: no project states the digest of {ENTRY}.weights: recorded {digest}"
    )
    assert f"{ENTRY}.weights: {digest}" in (folder / "model.yaml").read_text()


def test_other_content_than_at_the_first_pull_is_refused(
    site: Site, cache: Path, entry: Make
) -> None:
    """The record stays when the folder is deleted; its own deletion means to trust again."""
    model = entry(f"{site.url}/w")
    shutil.rmtree(Pulling().pull(model))
    site.files["w"], site.etag = weights(2), '"two"'
    record = cache / f".{ENTRY}.first"
    with pytest.raises(WrongContent, match=rf"{record} has the digest of the first pull: delete"):
        Pulling().pull(model)
    assert not (cache / ENTRY).exists()
    record.unlink()

    assert (Pulling().pull(model) / f"{ENTRY}.weights").read_bytes() == weights(2)


@pytest.mark.parametrize("kind", ["sha1", "md5", "git_blob"])
def test_hashes_of_other_kinds_are_checked_at_the_first_pull(
    site: Site, kind: str, entry: Make
) -> None:
    data = b"blob %d\0" % SIZE + CONTENT if kind == "git_blob" else CONTENT
    digest = hashlib.new("md5" if kind == "md5" else "sha1", data).hexdigest()
    wrong = entry(f"{site.url}/w", hashes={kind: "0" * len(digest)})
    with pytest.raises(WrongContent, match=f"expected {kind} 000.*, found {digest}"):
        Pulling().pull(wrong)

    Pulling().pull(entry(f"{site.url}/w", hashes={kind: digest}))


def test_a_relative_cache_folder_in_the_environment_is_ignored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "here")

    assert models_folder() == tmp_path / ".cache" / "elastic-yolo" / "models"
