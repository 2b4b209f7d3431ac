"""Several sources of one file: order, patience, and what is reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from elastic_yolo.provision.config import read_models_config
from elastic_yolo.provision.download import ATTEMPTS
from elastic_yolo.provision.errors import (
    ConfigError,
    SourceRefused,
    SourceUnavailable,
)
from elastic_yolo.provision.fallback import fetch_first
from tests.provision.fetcher import CONTENT, Fetcher
from tests.provision.file_server import Site, serving
from tests.provision.provisioning import provision, stable
from tests.support.models import FILES, wanted, write_config, write_source


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_source(tmp_path / "source")


def with_sources(source: Path, *addresses: str) -> dict[str, Any]:
    """Return an entry of models.yaml whose weights have these addresses and a digest."""
    entry = wanted(source, digests=source)
    entry["files"]["tiny.weights"]["sources"] = list(addresses)
    return entry


def fetch_all(fetcher: Fetcher, *addresses: str) -> list[str]:
    """Fetch the first that delivers CONTENT, and return the reported lines."""
    lines: list[str] = []

    def fetch(address: str, fallback: bool) -> bytes:
        return fetcher.fetch(address, fallback=fallback)

    assert fetch_first("file", addresses, fetch, lines.append) == CONTENT
    return lines


def test_the_job_takes_the_next_source_and_reports_why(tmp_path: Path, source: Path) -> None:
    weights = (source / "tiny.weights").read_bytes()
    damaged = Site({"w": bytes(reversed(weights))})
    with serving(damaged), serving(Site({"w": weights})) as good:
        addresses = ("http://127.0.0.1:1/w", f"{damaged.url}/w", f"{good.url}/w")
        (report,) = provision(tmp_path / "store", with_sources(source, *addresses))

    assert (report.outcome, report.error) == ("published", None)
    assert [line.rpartition(": ")[2] for line in report.passed_over] == [
        f"trying {addresses[1]}",
        f"trying {addresses[2]}",
    ]
    assert "no connection" in report.passed_over[0]
    assert "expected sha256:" in report.passed_over[1]
    assert stable(tmp_path / "store") == "1"


def test_the_first_source_is_enough(tmp_path: Path, source: Path) -> None:
    other = Site({})
    with serving(other):
        first = str(source / "tiny.weights")
        (report,) = provision(tmp_path / "store", with_sources(source, first, other.url))

    assert (report.outcome, report.passed_over, other.requests) == ("published", (), [])


@pytest.mark.parametrize(("status", "retryable"), [(404, False), (503, True)])
def test_if_no_source_delivers_a_retry_may_succeed_if_one_was_busy(
    tmp_path: Path, source: Path, status: int, retryable: bool
) -> None:
    with serving(Site({}, statuses=[status] * 10)) as one, serving(Site({})) as other:
        entry = with_sources(source, f"{one.url}/w", f"{other.url}/w")
        (report,) = provision(tmp_path / "store", entry)

    assert (report.outcome, report.retryable) == ("failed", retryable)
    assert "tiny.weights: none of its 2 sources delivered it" in (report.error or "")


def test_a_busy_source_with_a_fallback_is_asked_once(tmp_path: Path) -> None:
    """Pauses between attempts would take half a minute; alone, the same source gets them."""
    fetcher = Fetcher(tmp_path)
    busy = Site({"file": CONTENT}, statuses=[503] * 100)
    with serving(busy), serving(Site({"file": CONTENT})) as good:
        fetch_all(fetcher, f"{busy.url}/file", f"{good.url}/file")
        assert (len(busy.requests), fetcher.pauses) == (1, [])

        with pytest.raises(SourceUnavailable):
            fetcher.fetch(f"{busy.url}/file")

    assert len(busy.requests) == 1 + ATTEMPTS
    assert len(fetcher.pauses) == ATTEMPTS - 1


def test_a_source_that_progresses_is_resumed_before_the_fallback(tmp_path: Path) -> None:
    content = CONTENT * 10
    cuts = iter([1_500_000, 1_200_000])
    site = Site({"file": content}, cut_after=lambda: next(cuts, 10**9))
    fetcher = Fetcher(tmp_path)
    with serving(site):
        path, _ = fetcher.download.fetch(f"{site.url}/file", "file", None, fallback=True)

    assert path.read_bytes() == content
    assert site.sent == len(content)


def test_a_source_that_hardly_progresses_is_left(tmp_path: Path) -> None:
    site = Site({"file": CONTENT}, cut_after=lambda: 100_000)
    with serving(site), serving(Site({"file": CONTENT})) as good:
        lines = fetch_all(Fetcher(tmp_path), f"{site.url}/file", f"{good.url}/file")

    assert len(site.requests) == 1
    assert "peer closed connection" in lines[0]


def test_credentials_in_the_next_address_are_not_reported(tmp_path: Path) -> None:
    with serving(Site({})) as empty, serving(Site({"file": CONTENT})) as good:
        signed = f"{good.url}/file?signature=secret"
        lines = fetch_all(Fetcher(tmp_path), f"{empty.url}/file", signed)

    assert lines == [f"{empty.url}/file: status 404 Not Found: trying {good.url}/file"]


def test_the_error_of_a_single_source_stays_as_it_is(tmp_path: Path) -> None:
    with serving(Site({})) as empty, pytest.raises(SourceRefused, match="404") as raised:
        fetch_all(Fetcher(tmp_path), f"{empty.url}/file")

    assert str(raised.value) == f"{empty.url}/file: status 404 Not Found"


def test_source_and_sources_exclude_each_other(tmp_path: Path, source: Path) -> None:
    entry = with_sources(source, "a", "b")
    entry["files"]["tiny.weights"]["source"] = "c"
    with pytest.raises(ConfigError, match="expected source or sources, not both"):
        read_models_config(write_config(tmp_path / "models.yaml", entry))


def test_relative_sources_begin_at_models_yaml(tmp_path: Path, source: Path) -> None:
    entry = with_sources(source, "near/w", "https://a.test/w")
    (model,) = read_models_config(write_config(tmp_path / "models.yaml", entry)).models

    assert model.addresses("tiny.weights") == (str(tmp_path / "near" / "w"), "https://a.test/w")
    assert model.addresses(FILES[0]) == (f"{source}/{FILES[0]}",)


def test_credentials_are_refused_in_every_source(tmp_path: Path, source: Path) -> None:
    entry = with_sources(source, "near/w", "https://user:secret@a.test/w")
    with pytest.raises(ConfigError, match="credentials belong in the environment"):
        read_models_config(write_config(tmp_path / "models.yaml", entry))
