"""Downloads from correct and from faulty web servers."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer

import pytest

from elastic_yolo.digest import digest_of_bytes
from elastic_yolo.provision.download import ATTEMPTS, pause_s
from elastic_yolo.provision.errors import (
    ConfigError,
    ProvisionError,
    SourceRefused,
    SourceUnavailable,
    WrongContent,
)
from elastic_yolo.store.errors import StoreFull
from elastic_yolo.store.layout import Layout
from elastic_yolo.store.writer import Writer
from tests.provision.fetcher import CONTENT, DIGEST, Fetcher
from tests.provision.file_server import Site, serving


def test_a_file_takes_one_request_and_reports_progress(tmp_path: Path) -> None:
    fetcher = Fetcher(tmp_path)
    with serving(Site({"a/file": CONTENT})) as site:
        assert fetcher.fetch(f"{site.url}/a/file") == CONTENT

    assert site.requests == [("/a/file", None)]
    assert fetcher.seen[-1] == ("file", len(CONTENT), len(CONTENT))
    assert fetcher.download.traffic.bytes == len(CONTENT)


def test_a_cut_connection_is_resumed(tmp_path: Path) -> None:
    """Every byte is transferred once, regardless of the number of interruptions."""
    fetcher = Fetcher(tmp_path)
    chance = random.Random(7)  # noqa: S311
    site = Site({"file": CONTENT}, cut_after=lambda: chance.randrange(1, 60_000))
    with serving(site):
        assert fetcher.fetch(f"{site.url}/file") == CONTENT

    assert len(site.requests) > 5
    assert [requested for _, requested in site.requests[1:]].count(None) == 0
    assert site.sent == len(CONTENT)


def test_without_range_support_a_download_starts_again(tmp_path: Path) -> None:
    cuts = iter([100_000, 200_000, 10**9])
    site = Site({"file": CONTENT}, ranges=False, cut_after=lambda: next(cuts))
    with serving(site):
        assert Fetcher(tmp_path).fetch(f"{site.url}/file") == CONTENT


def test_a_later_run_resumes_the_download(tmp_path: Path) -> None:
    cuts = iter([100_000, *[0] * (ATTEMPTS - 1)])
    site = Site({"file": CONTENT}, cut_after=lambda: next(cuts, 10**9))
    with serving(site):
        with pytest.raises(SourceUnavailable, match="peer closed connection"):
            Fetcher(tmp_path).fetch(f"{site.url}/file")
        site.requests.clear()

        assert Fetcher(tmp_path).fetch(f"{site.url}/file") == CONTENT

    assert site.requests == [("/file", "bytes=100000-")]


def test_changed_content_is_downloaded_from_the_beginning(tmp_path: Path) -> None:
    cuts = iter([100_000, *[0] * (ATTEMPTS - 1)])
    site = Site({"file": CONTENT}, cut_after=lambda: next(cuts, 10**9))
    other = bytes(reversed(CONTENT))
    with serving(site):
        with pytest.raises(SourceUnavailable):
            Fetcher(tmp_path).fetch(f"{site.url}/file")
        site.files["file"], site.etag = other, '"two"'

        assert Fetcher(tmp_path).fetch(f"{site.url}/file", digest_of_bytes(other)) == other


def test_without_a_validator_a_download_starts_again(tmp_path: Path) -> None:
    cuts = iter([100_000, 10**9])
    site = Site({"file": CONTENT}, etag=None, cut_after=lambda: next(cuts))
    with serving(site):
        assert Fetcher(tmp_path).fetch(f"{site.url}/file") == CONTENT

    assert [requested for _, requested in site.requests] == [None, None]


def test_an_announced_length_that_never_comes_is_a_failure(tmp_path: Path) -> None:
    site = Site({"file": CONTENT}, length_offset=10)
    fetcher = Fetcher(tmp_path)
    with serving(site), pytest.raises(SourceUnavailable):
        fetcher.fetch(f"{site.url}/file")

    assert len(fetcher.pauses) == ATTEMPTS - 1


def test_a_too_short_content_length_fails_the_digest(tmp_path: Path) -> None:
    site = Site({"file": CONTENT}, length_offset=-10)
    with serving(site), pytest.raises(WrongContent, match="expected sha256:"):
        Fetcher(tmp_path).fetch(f"{site.url}/file")


def test_a_wrong_digest_is_final_and_leaves_nothing(tmp_path: Path) -> None:
    fetcher = Fetcher(tmp_path)
    wrong = digest_of_bytes(b"something else")
    with serving(Site({"file": CONTENT})) as site, pytest.raises(WrongContent, match=wrong):
        fetcher.fetch(f"{site.url}/file", wrong)

    assert fetcher.pauses == []
    assert list(fetcher.layout.incoming.iterdir()) == []


def test_redirects_are_followed(tmp_path: Path) -> None:
    with serving(Site({"file": CONTENT})) as there, serving(Site({})) as here:
        here.redirects = {"old": "/older", "older": f"{there.url}/file"}
        assert Fetcher(tmp_path).fetch(f"{here.url}/old") == CONTENT


def test_endless_redirects_and_redirects_to_files_are_refused(tmp_path: Path) -> None:
    with serving(Site({}, redirects={"round": "/round", "out": "file:///etc/hostname"})) as site:
        for path in ("round", "out"):
            with pytest.raises(SourceRefused):
                Fetcher(tmp_path).fetch(f"{site.url}/{path}")


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refused_file_is_not_requested_again(tmp_path: Path, status: int) -> None:
    fetcher = Fetcher(tmp_path)
    site = Site({}, statuses=[status])
    with serving(site), pytest.raises(SourceRefused, match=str(status)):
        fetcher.fetch(f"{site.url}/file")

    assert len(site.requests) == 1


def test_a_busy_server_is_retried_with_longer_pauses(tmp_path: Path) -> None:
    fetcher = Fetcher(tmp_path)
    site = Site({"file": CONTENT}, statuses=[503, 429, 500])
    with serving(site):
        assert fetcher.fetch(f"{site.url}/file") == CONTENT

    assert len(site.requests) == 4
    assert 0.5 <= fetcher.pauses[0] <= 1 <= fetcher.pauses[1] <= 2 <= fetcher.pauses[2] <= 4


def test_a_refused_connection_is_retryable(tmp_path: Path) -> None:
    with pytest.raises(ProvisionError) as caught:
        Fetcher(tmp_path).fetch("http://127.0.0.1:9/file?signature=secret")

    assert caught.value.retryable
    assert "secret" not in str(caught.value)


class _Drip(BaseRequestHandler):
    def handle(self) -> None:
        self.request.recv(65536)
        self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        try:
            while True:
                self.request.sendall(b"x")
                time.sleep(0.01)
        except OSError:
            """Ignore the client's disconnection."""


@contextmanager
def dripping() -> Iterator[str]:
    with ThreadingTCPServer(("127.0.0.1", 0), _Drip) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/file"
        server.shutdown()
        thread.join()


def test_a_transfer_that_is_too_slow_fails(tmp_path: Path) -> None:
    fetcher = Fetcher(tmp_path, attempts=1, patience_s=0.2)
    with dripping() as address, pytest.raises(SourceUnavailable, match="bytes in 0 s"):
        fetcher.fetch(address)


def test_a_download_without_space_does_not_start(tmp_path: Path) -> None:
    fetcher = Fetcher(tmp_path, room=299_999)
    with serving(Site({"file": CONTENT})) as site, pytest.raises(StoreFull):
        fetcher.fetch(f"{site.url}/file")

    assert list(fetcher.layout.incoming.iterdir()) == []


def test_local_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "a file").write_bytes(CONTENT)

    assert Fetcher(tmp_path / "one").fetch(str(tmp_path / "a file")) == CONTENT
    assert Fetcher(tmp_path / "two").fetch((tmp_path / "a file").as_uri()) == CONTENT


@pytest.mark.parametrize("address", ["/dev/zero", "/proc", "/nowhere"])
def test_a_path_that_is_not_a_file_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(SourceRefused):
        Fetcher(tmp_path).fetch(address)


def test_a_link_within_the_folder_is_followed(tmp_path: Path) -> None:
    folder = tmp_path / "mounted"
    (folder / "..2026").mkdir(parents=True)
    (folder / "..2026" / "file").write_bytes(CONTENT)
    (folder / "..data").symlink_to("..2026")
    (folder / "file").symlink_to("..data/file")
    (tmp_path / "link").symlink_to(folder)

    for address in (str(folder / "file"), str(tmp_path / "link" / "file")):
        assert Fetcher(tmp_path / "store").fetch(address) == CONTENT


@pytest.mark.parametrize("target", ["/etc/hostname", "../file", "inner/file"])
def test_a_link_out_of_its_folder_is_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    folder = tmp_path / "mounted"
    folder.mkdir()
    (folder / "inner").symlink_to(tmp_path)
    (folder / "link").symlink_to(target)

    with pytest.raises(SourceRefused, match="leads out of its folder"):
        Fetcher(tmp_path / "store").fetch(str(folder / "link"))


def test_a_complete_partial_file_is_downloaded_again(tmp_path: Path) -> None:
    """A run may be killed after the last byte, where no valid range begins."""
    site = Site({"file": CONTENT}, length_offset=1)
    with serving(site):
        with pytest.raises(SourceUnavailable):
            Fetcher(tmp_path, attempts=1).fetch(f"{site.url}/file")
        site.length_offset, site.statuses = 0, [416]

        assert Fetcher(tmp_path).fetch(f"{site.url}/file") == CONTENT

    assert [requested for _, requested in site.requests] == [None, f"bytes={len(CONTENT)}-", None]


def test_an_unknown_kind_of_address_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected one of file, gdrive, hf, http, https, "):
        Fetcher(tmp_path).fetch("gopher://host/file")


def test_pauses_double_up_to_half_a_minute() -> None:
    for attempt, longest in ((1, 1), (3, 4), (6, 30), (60, 30)):
        assert longest / 2 <= pause_s(attempt) <= longest


def test_a_complete_download_without_a_digest_is_not_fetched_again(tmp_path: Path) -> None:
    """The run was killed before it published the file, which is in the incoming folder."""
    with serving(Site({"file": CONTENT})) as site:
        assert Fetcher(tmp_path).fetch(f"{site.url}/file", None) == CONTENT
        before = len(site.requests)
        fetcher = Fetcher(tmp_path)
        assert fetcher.fetch(f"{site.url}/file", None) == CONTENT

    assert len(site.requests) - before == 1
    assert fetcher.download.traffic.bytes == 0


def test_a_complete_download_that_is_in_the_store_is_not_fetched_again(tmp_path: Path) -> None:
    """The run was killed when the file was already moved into the store."""
    with serving(Site({"file": CONTENT})) as site:
        first = Fetcher(tmp_path)
        path, digest = first.download.fetch(f"{site.url}/file", "file", None)
        writer = Writer(first.layout)
        writer.add_blob(path, digest)
        second = Fetcher(tmp_path)
        found = second.download.fetch(f"{site.url}/file", "file", None)
        record = writer.add_blob(*found)

    assert found == (first.layout.blob(DIGEST), DIGEST)
    assert second.download.traffic.bytes == 0
    assert record.digest == DIGEST
    assert first.layout.blob(DIGEST).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "change", ["etag", "content and etag", "size", "no etag", "part", "part is cut", "no part"]
)
def test_a_complete_download_that_differs_is_fetched_again(tmp_path: Path, change: str) -> None:
    """Either the source states another validator or size, or the file here is not what arrived."""
    other = bytes(reversed(CONTENT))
    with serving(Site({"file": CONTENT})) as site:
        Fetcher(tmp_path).fetch(f"{site.url}/file", None)
        [part] = [one for one in Layout(tmp_path).incoming.iterdir() if not one.suffix]
        match change:
            case "etag":
                site.etag = '"two"'
            case "content and etag":
                site.etag, site.files["file"] = '"two"', other
            case "size":
                site.files["file"] = CONTENT + b"more"
            case "no etag":
                site.etag = None
            case "part":
                part.write_bytes(other)
            case "part is cut":
                part.write_bytes(CONTENT[:-1])
            case _:
                part.unlink()
        fetcher = Fetcher(tmp_path)
        found = fetcher.fetch(f"{site.url}/file", None)
        expected = site.files["file"]

    assert found == expected
    assert fetcher.download.traffic.bytes == len(expected)


@pytest.mark.parametrize("digest", [None, DIGEST])
def test_a_download_that_was_complete_when_the_run_was_killed_is_not_fetched_again(
    tmp_path: Path, digest: str | None
) -> None:
    """All bytes had arrived, and the run had noted nothing but the size that the source stated."""
    with serving(Site({"file": CONTENT})) as site:
        first = Fetcher(tmp_path)
        path, _ = first.download.fetch(f"{site.url}/file", "file", None)
        note = json.loads(path.with_suffix(".json").read_bytes())
        del note["digest"]
        path.with_suffix(".json").write_text(json.dumps(note))
        second = Fetcher(tmp_path)

        assert second.fetch(f"{site.url}/file", digest) == CONTENT

    assert second.download.traffic.bytes == 0
    assert second.download.traffic.requests == (1 if digest is None else 0)


def test_an_unavailable_source_keeps_the_complete_download(tmp_path: Path) -> None:
    with serving(Site({"file": CONTENT})) as site:
        Fetcher(tmp_path).fetch(f"{site.url}/file", None)
        site.statuses = [503, 503]
        fetcher = Fetcher(tmp_path, attempts=1)
        with pytest.raises(SourceUnavailable):
            fetcher.fetch(f"{site.url}/file", None)
        again = Fetcher(tmp_path)
        assert again.fetch(f"{site.url}/file", None) == CONTENT

    assert again.download.traffic.bytes == 0


def test_nothing_is_noted_of_a_source_without_a_validator_or_a_file_with_a_digest(
    tmp_path: Path,
) -> None:
    with serving(Site({"file": CONTENT}, etag=None)) as site:
        Fetcher(tmp_path / "one").fetch(f"{site.url}/file", None)
    with serving(Site({"file": CONTENT})) as site:
        Fetcher(tmp_path / "two").fetch(f"{site.url}/file", DIGEST)

    for folder in ("one", "two"):
        assert not list(Layout(tmp_path / folder).incoming.glob("*.json"))
