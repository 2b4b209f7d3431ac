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
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from elastic_yolo.detector.model import read_model
from elastic_yolo.digest import digest_of_bytes
from elastic_yolo.provision.errors import ProvisionError, SourceUnavailable, WrongContent
from elastic_yolo.provision.zoo import cached_folder, find_zoo_model, models_folder
from tests.provision.file_server import Site, serving
from tests.provision.zoo.zoo_server import ENTRY, SIZE, Pulling, entry, weights

CONTENT = weights()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "elastic-yolo" / "models"


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site({"w": CONTENT})) as served:
        yield served


def test_a_pulled_folder_is_a_checked_model(site: Site, cache: Path) -> None:
    folder = Pulling().pull(entry(f"{site.url}/w", content=CONTENT))

    model, zoo = read_model(folder), find_zoo_model(ENTRY)
    assert folder == cache / ENTRY
    assert (model.name, model.version) == (ENTRY, zoo.version)
    assert (model.network.classes, model.resize) == (zoo.classes, "stretch")
    assert (folder / zoo.weights.name).read_bytes() == CONTENT
    damaged = bytearray(CONTENT)
    damaged[1000] ^= 1
    (folder / zoo.weights.name).write_bytes(damaged)
    with pytest.raises(Exception, match=r"yolo-fastest-1.1.weights: expected sha256:"):
        read_model(folder)


def test_a_complete_folder_needs_no_network(site: Site) -> None:
    model = entry(f"{site.url}/w", content=CONTENT)
    first = Pulling().pull(model)
    site.requests.clear()
    again = Pulling()

    assert again.pull(model) == first
    assert (site.requests, again.lines, again.progress) == ([], [], [])


def test_the_progress_counts_the_bytes_of_the_weights(site: Site) -> None:
    pulling = Pulling()
    pulling.pull(entry(f"{site.url}/w", content=CONTENT))

    assert pulling.progress[-1] == (f"{ENTRY}.weights", SIZE, SIZE)
    assert pulling.lines == [f"{ENTRY}: {SIZE / 1e6:.1f} MB from {site.url}/w"]


def test_the_next_source_is_tried_with_one_line(site: Site) -> None:
    with serving(Site({}, statuses=[503])) as busy, serving(Site({})) as empty:
        pulling = Pulling()
        sources = (f"{busy.url}/w", f"{empty.url}/w", f"{site.url}/w")
        folder = pulling.pull(entry(*sources, content=CONTENT))

    assert (folder / f"{ENTRY}.weights").read_bytes() == CONTENT
    assert len(busy.requests) == len(empty.requests) == len(site.requests) == 1
    assert pulling.lines[1:] == [
        f"{sources[0]}: status 503 Service Unavailable: trying {sources[1]}",
        f"{sources[1]}: status 404 Not Found: trying {sources[2]}",
    ]


def test_a_page_in_place_of_the_weights_is_not_read(site: Site) -> None:
    """Sites that are gone redirect every address to a page."""
    page = Site({"w": b"<html>" * 10_000})
    with serving(page):
        pulling = Pulling()
        pulling.pull(entry(f"{page.url}/w", f"{site.url}/w", content=CONTENT))

    assert f"{page.url}/w: expected 1,384,268 bytes, found 60,000: trying" in pulling.lines[1]
    assert {total for _, _, total in pulling.progress} == {SIZE}


def test_an_endless_response_is_cut_off_at_the_size(site: Site) -> None:
    endless = Site({"w": CONTENT + b"more" * 100_000}, chunked=True)
    with serving(endless):
        pulling = Pulling()
        pulling.pull(entry(f"{endless.url}/w", f"{site.url}/w", content=CONTENT))

    assert "more than 1,384,268 bytes" in pulling.lines[1]


def test_a_wrong_digest_everywhere_leaves_no_folder(site: Site, cache: Path) -> None:
    other = weights(2)
    model = entry(f"{site.url}/w", f"{site.url}/w?again", content=other)
    with pytest.raises(WrongContent, match=rf"^{ENTRY}: .*none of its 2 sources .* expected sha"):
        Pulling().pull(model)

    assert not (cache / ENTRY).exists()
    assert not any((cache / ".download" / "incoming").iterdir())


def test_an_interrupted_pull_is_resumed_by_the_next(cache: Path) -> None:
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


def test_without_network_the_error_is_one_line() -> None:
    model = entry("http://127.0.0.1:1/a", "http://127.0.0.1:1/b", content=CONTENT)
    with pytest.raises(ProvisionError) as raised:
        Pulling().pull(model)

    text = str(raised.value)
    assert text.startswith(f"{ENTRY}: {ENTRY}.weights: none of its 2 sources delivered it")
    assert text.endswith("is there a network?")
    assert "\n" not in text


def test_two_pulls_at_once_download_once(site: Site) -> None:
    model = entry(f"{site.url}/w", content=CONTENT)
    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(lambda _: Pulling().pull(model), range(4)))

    assert folders == {models_folder() / ENTRY}
    assert len(site.requests) == 1


def test_a_second_process_says_that_it_waits(cache: Path) -> None:
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


def test_an_incomplete_or_older_folder_is_replaced(site: Site, cache: Path) -> None:
    model = entry(f"{site.url}/w", content=CONTENT)
    folder = Pulling().pull(model)
    (folder / "coco.names").unlink()
    assert cached_folder(model) is None

    assert cached_folder(model.model_copy(update={"version": "1999.1"})) is None
    Pulling().pull(model)

    assert read_model(cached_folder(model) or Path()).name == ENTRY
    names = {path.name for path in cache.iterdir()}
    assert names == {ENTRY, f".{ENTRY}.lock", ".download"}


def test_an_unstated_digest_is_recorded_at_the_first_pull(site: Site) -> None:
    pulling = Pulling()
    folder = pulling.pull(entry(f"{site.url}/w"))

    digest = digest_of_bytes(CONTENT)
    assert pulling.lines[-1] == f"{ENTRY}: no project states its digest: recorded {digest}"
    assert f"{ENTRY}.weights: {digest}" in (folder / "model.yaml").read_text()


def test_other_content_than_at_the_first_pull_is_refused(site: Site, cache: Path) -> None:
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
def test_hashes_of_other_kinds_are_checked_at_the_first_pull(site: Site, kind: str) -> None:
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
