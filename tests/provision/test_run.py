"""Provisioning runs: models are published once, complete, and only if valid."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from elastic_yolo.lab.processes.stack import ROOT
from elastic_yolo.provision.config import read_models_config
from elastic_yolo.provision.errors import ConfigError, WrongContent
from elastic_yolo.provision.sources import choose_source
from elastic_yolo.store.collect import used_bytes
from elastic_yolo.store.errors import NotInStore
from elastic_yolo.store.layout import Layout
from elastic_yolo.store.reader import list_versions, resolve
from elastic_yolo.store.records import VersionRecord
from elastic_yolo.store.reference import Reference
from elastic_yolo.store.writer import verify_blob
from tests.provision.file_server import Site, serving
from tests.provision.provisioning import provision, stable
from tests.support.models import FILES, wanted, write_config, write_source
from tests.support.pictures import encode, plain


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_source(tmp_path / "source")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def test_a_model_is_published_and_its_channels_point_at_it(source: Path, store: Path) -> None:
    (report,) = provision(store, wanted(source, channels=["stable", "next"]))

    assert (report.outcome, report.files, report.requests) == ("published", 3, 3)
    for channel in ("stable", "next"):
        folder = resolve(Reference(store, "tiny", channel)).folder
        for name in FILES:
            assert (folder / name).read_bytes() == (source / name).read_bytes()


def test_a_second_run_requests_nothing_and_writes_nothing(source: Path, store: Path) -> None:
    site = Site({name: (source / name).read_bytes() for name in FILES})
    with serving(site):
        provision(store, wanted(site.url))
        before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
        site.requests.clear()

        (report,) = provision(store, wanted(site.url))

    assert (report.outcome, report.bytes, report.requests, report.files) == ("present", 0, 0, 0)
    assert site.requests == []
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before


def test_files_that_the_store_has_are_not_downloaded(
    tmp_path: Path, source: Path, store: Path
) -> None:
    provision(store, wanted(source))
    wider = write_source(tmp_path / "wider", cells=2)

    (report,) = provision(store, wanted(wider, digests=wider, version="2"))

    assert (report.outcome, report.files) == ("published", 1)
    assert report.bytes == (wider / "tiny.cfg").stat().st_size
    assert stable(store) == "2"


def test_a_channel_is_switched_without_a_download(
    tmp_path: Path, source: Path, store: Path
) -> None:
    wider = write_source(tmp_path / "wider", cells=2)
    provision(store, wanted(source))
    provision(store, wanted(wider, version="2"))

    (report,) = provision(store, wanted(source))

    assert (report.outcome, report.bytes) == ("switched", 0)
    assert stable(store) == "1"


def spoil_weights(folder: Path) -> None:
    path = folder / "tiny.weights"
    path.write_bytes(path.read_bytes()[:-4])


def use_other_cfg(folder: Path) -> None:
    path = folder / "tiny.cfg"
    path.write_text(path.read_text().replace("classes=2", "classes=3"))


def spoil_names(folder: Path) -> None:
    (folder / "tiny.names").write_text("square\n")


def spoil_numbers(folder: Path) -> None:
    path = folder / "tiny.weights"
    path.write_bytes(path.read_bytes()[:-4] + b"\xff\xff\xff\x7f")


@pytest.mark.parametrize("spoil", [spoil_weights, use_other_cfg, spoil_names, spoil_numbers])
def test_a_model_that_cannot_be_served_is_not_published(
    tmp_path: Path, source: Path, store: Path, spoil: Any
) -> None:
    provision(store, wanted(source))
    bad = write_source(tmp_path / "bad", cells=2)
    spoil(bad)

    (report,) = provision(store, wanted(bad, version="2"))

    assert (report.outcome, report.retryable) == ("failed", False)
    assert report.error is not None
    assert str(store) not in report.error
    assert stable(store) == "1"
    assert [one.version for one in list_versions(Layout(store), "tiny")] == ["1"]


def test_a_model_that_fails_its_golden_picture_is_refused(source: Path, store: Path) -> None:
    (source / "golden.png").write_bytes(encode(plain(32, 32), "PNG"))
    (source / "model.yaml").write_text(
        "golden:\n  picture: golden.png\n  expected:\n    - [circle, 0.9, [16, 16, 16, 8]]\n"
    )
    model = wanted(source)
    model["files"] |= {"golden.png": {}, "model.yaml": {}}

    (report,) = provision(store, model)

    assert report.outcome == "failed"
    assert report.error is not None
    assert "golden" in report.error
    with pytest.raises(NotInStore):
        stable(store)


def test_a_wrong_digest_is_refused_and_the_old_version_stays(
    tmp_path: Path, source: Path, store: Path
) -> None:
    provision(store, wanted(source))
    wider = write_source(tmp_path / "wider", cells=2)
    widest = write_source(tmp_path / "widest", cells=3)

    (report,) = provision(store, wanted(wider, digests=widest, version="2"))

    assert (report.outcome, report.retryable) == ("failed", False)
    assert report.error is not None
    assert "expected sha256:" in report.error
    assert stable(store) == "1"


def test_other_content_for_a_published_version_is_refused(
    tmp_path: Path, source: Path, store: Path
) -> None:
    provision(store, wanted(source))
    wider = write_source(tmp_path / "wider", cells=2)

    (report,) = provision(store, wanted(wider, digests=wider))

    assert report.outcome == "failed"
    assert report.error is not None
    assert "another version" in report.error


def test_a_failed_model_does_not_stop_the_others(tmp_path: Path, source: Path, store: Path) -> None:
    missing = wanted(tmp_path / "nowhere", name="missing")

    reports = provision(store, missing, wanted(source))

    assert [report.outcome for report in reports] == ["failed", "published"]


def test_an_unavailable_source_is_retryable(store: Path) -> None:
    (report,) = provision(store, wanted("http://127.0.0.1:9"))

    assert (report.outcome, report.retryable) == ("failed", True)


@pytest.mark.parametrize("chunked", [False, True])
def test_the_quota_limits_the_store(
    tmp_path: Path, source: Path, store: Path, *, chunked: bool
) -> None:
    """With any quota, the next version fits, or is refused in one line and the old one stays.

    Also if the server sends no Content-Length.
    """
    provision(store, wanted(source))
    wider = write_source(tmp_path / "wider", cells=2)
    site = Site({name: (wider / name).read_bytes() for name in FILES}, chunked=chunked)
    held = used_bytes(Layout(store))
    outcomes = []
    for room in range(-100, 400, 20):
        with serving(site):
            (report,) = provision(store, wanted(site.url, version="2"), quota_bytes=held + room)
        outcomes.append(report.outcome)
        if report.outcome == "failed":
            assert report.retryable
            assert report.error is not None
            assert f"would exceed the quota of {held + room:,} bytes" in report.error
            assert stable(store) == "1"
        assert used_bytes(Layout(store)) <= held + max(room, 0)

    assert outcomes[0] == "failed"
    assert outcomes[-1] == "present"
    assert outcomes.count("published") == 1


def _overwrite(path: Path) -> None:
    """With other content of the same size."""
    path.chmod(0o644)
    path.write_bytes(b"\1" * path.stat().st_size)


def _change_blob(layout: Layout, record: VersionRecord) -> None:
    _overwrite(layout.blob(record.files["tiny.weights"].digest))


def _remove_blob(layout: Layout, record: VersionRecord) -> None:
    layout.blob(record.files["tiny.weights"].digest).unlink()


def _change_copy(layout: Layout, record: VersionRecord) -> None:
    """As on a file system without hard links."""
    copy = layout.version(record.name, record.id) / "tiny.weights"
    copy.unlink()
    copy.write_bytes(b"other")


def _remove_folder(layout: Layout, record: VersionRecord) -> None:
    shutil.rmtree(layout.version(record.name, record.id))


@pytest.mark.parametrize("damage", [_change_blob, _remove_blob, _change_copy, _remove_folder])
def test_what_is_damaged_in_the_store_is_repaired(
    source: Path, store: Path, damage: Callable[[Layout, VersionRecord], None]
) -> None:
    layout = Layout(store)
    provision(store, wanted(source))
    (record,) = list_versions(layout, "tiny")
    damage(layout, record)

    (planned,) = provision(store, wanted(source), dry_run=True)
    (repaired,) = provision(store, wanted(source))
    (again,) = provision(store, wanted(source))

    assert [one.outcome for one in (planned, repaired, again)] == [
        "would repair",
        "repaired",
        "present",
    ]
    assert list_versions(layout, "tiny") == [record]
    folder = resolve(Reference(store, "tiny", "stable")).folder
    for name in FILES:
        assert (folder / name).read_bytes() == (source / name).read_bytes()
        verify_blob(layout, record.files[name].digest)


def test_a_repair_leaves_a_version_in_place_until_it_is_checked(
    source: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Services that start meanwhile find it; and it stays if the check fails."""
    provision(store, wanted(source))
    (record,) = list_versions(Layout(store), "tiny")
    _change_copy(Layout(store), record)
    found: list[str] = []

    def check(_folder: Path, threads: int) -> None:  # noqa: ARG001
        found.append(stable(store))
        raise WrongContent("refused")

    monkeypatch.setattr("elastic_yolo.provision.run.check_model", check)
    (report,) = provision(store, wanted(source))

    assert (report.outcome, report.error) == ("failed", "refused")
    assert found == ["1"]
    assert stable(store) == "1"


def test_a_damaged_file_that_has_a_whole_copy_needs_no_source(source: Path, store: Path) -> None:
    layout = Layout(store)
    provision(store, wanted(source))
    (record,) = list_versions(layout, "tiny")
    _remove_blob(layout, record)
    (source / "tiny.weights").unlink()

    (report,) = provision(store, wanted(source))

    assert (report.outcome, report.requests) == ("repaired", 0)
    verify_blob(layout, record.files["tiny.weights"].digest)


def test_a_repair_needs_no_more_than_the_quota(source: Path, store: Path) -> None:
    layout = Layout(store)
    provision(store, wanted(source))
    (record,) = list_versions(layout, "tiny")
    _change_blob(layout, record)

    (report,) = provision(store, wanted(source), quota_bytes=used_bytes(layout))

    assert report.outcome == "repaired"


def test_a_damaged_file_is_not_replaced_by_other_content(source: Path, store: Path) -> None:
    """Also without a digest in models.yaml: that of the version's record is binding."""
    provision(store, wanted(source))
    (record,) = list_versions(Layout(store), "tiny")
    _change_blob(Layout(store), record)
    _overwrite(source / "tiny.weights")

    (report,) = provision(store, wanted(source))

    assert report.outcome == "failed"
    assert report.error is not None
    assert f"tiny.weights: expected {record.files['tiny.weights'].digest}, found" in report.error


def test_a_new_version_replaces_a_damaged_file_that_it_shares(source: Path, store: Path) -> None:
    """The older version has the whole file again with its next run."""
    provision(store, wanted(source))
    (record,) = list_versions(Layout(store), "tiny")
    _change_blob(Layout(store), record)

    (second,) = provision(store, wanted(source, version="2"))
    (first,) = provision(store, wanted(source))

    assert (second.outcome, first.outcome) == ("published", "repaired")


def test_a_dry_run_transfers_nothing_and_writes_nothing(source: Path, store: Path) -> None:
    (report,) = provision(store, wanted(source), dry_run=True)

    assert (report.outcome, report.requests) == ("would publish", 0)
    assert list(store.iterdir()) == []


def test_used_by_selects_the_models_of_a_service(tmp_path: Path) -> None:
    config = write_config(
        tmp_path / "models.yaml",
        wanted("/a", name="a", used_by=["inference"]),
        wanted("/b", name="b", used_by=["batch", "stream"]),
        wanted("/c", name="c"),
    )
    found = read_models_config(config)

    assert [model.name for model in found.used_by([])] == ["a", "b", "c"]
    assert [model.name for model in found.used_by(["inference"])] == ["a", "c"]
    assert [model.name for model in found.used_by(["stream", "web"])] == ["b", "c"]


@pytest.mark.parametrize(
    ("stated", "why"),
    [
        ({"channels": "next"}, r"models\.yaml: models\.0\.channels: expected a list$"),
        (
            {"files": {"a.cfg": {"sources": "https://a.test/a"}, "b": {}, "c": {}}},
            r"models\.yaml: models\.0\.files\.a\.cfg\.sources: expected a list$",
        ),
        ({"files": "a.cfg"}, r"models\.0\.files: expected a map of names and values$"),
        (
            {"files": {"a.cfg": "https://a.test/a", "b": {}, "c": {}}},
            r"models\.0\.files\.a\.cfg: expected a map of names and values$",
        ),
        ({"name": "../up"}, "expected at most 100 letters"),
        ({"version": "a/b"}, "expected at most 100 letters"),
        ({"channels": [".."]}, "expected at most 100 letters"),
        ({"files": {"../x.cfg": {}, "a": {}, "b": {}}}, "expected a file name without a folder"),
        ({"files": {"/etc/x.cfg": {}, "a": {}, "b": {}}}, "expected a file name without a folder"),
        ({"files": {"..": {}, "a": {}, "b": {}}}, "expected a file name without a folder"),
        ({"files": {}}, "at least 3"),
        ({"surprise": 1}, "unknown field"),
        (
            {"source": "https://user:secret@host/models"},
            r"models\.0: credentials belong in the environment",
        ),
    ],
)
def test_an_invalid_models_yaml_is_refused(
    tmp_path: Path, stated: dict[str, Any], why: str
) -> None:
    config = write_config(tmp_path / "models.yaml", wanted("/a") | stated)

    with pytest.raises(ConfigError, match=why) as caught:
        read_models_config(config)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "docs").glob("models.*.yaml")), ids=lambda p: p.name
)
def test_the_examples_in_the_docs_are_valid(path: Path) -> None:
    """Every file has a digest, except model.yaml and what comes with this package."""
    for model in read_models_config(path).models:
        for name, file in model.files.items():
            addresses = model.addresses(name)
            assert all(map(choose_source, addresses))
            assert file.digest or name == "model.yaml" or addresses[0].startswith("zoo:")


def test_a_channel_points_at_one_version(tmp_path: Path) -> None:
    config = write_config(tmp_path / "models.yaml", wanted("/a"), wanted("/b", version="2"))

    with pytest.raises(ConfigError, match="@stable cannot point at two versions"):
        read_models_config(config)


@pytest.mark.parametrize("other", [{}, {"used_by": ["web"]}])
def test_a_version_that_is_there_twice_is_refused_as_such(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    first, second = wanted("/a", version="2"), wanted("/a", version="2", **other)
    config = write_config(tmp_path / "models.yaml", first, second)

    with pytest.raises(ConfigError, match="tiny: two entries of the same version: remove one"):
        read_models_config(config)


def test_equal_entries_without_a_version_are_refused_as_such(tmp_path: Path) -> None:
    config = write_config(tmp_path / "models.yaml", wanted("/a"), wanted("/a"))

    with pytest.raises(ConfigError, match="two entries of the same version: remove one"):
        read_models_config(config)


def test_a_channel_that_an_entry_has_twice_is_one(tmp_path: Path) -> None:
    config = write_config(tmp_path / "models.yaml", wanted("/a", channels=["next", "next"]))

    assert len(read_models_config(config).models) == 1


@pytest.mark.parametrize(
    "text",
    [
        "models: [",
        "- 1",
        "",
        "models: 3",
        "\x00",
        "models: " + "[" * 50 + "]" * 50,
        "a: &a [x, x]\nb: &b [*a, *a]\nmodels: [*b, *b]",
        "models: !!python/object/apply:os.system [ls]",
    ],
)
def test_a_file_that_is_not_models_yaml_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "models.yaml").write_text(text)

    with pytest.raises(ConfigError, match=r"models\.yaml"):
        read_models_config(tmp_path / "models.yaml")
