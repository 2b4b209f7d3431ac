"""Moving sources: a run publishes the current version, once and complete."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from elastic_yolo.provision.progress import ProgressReporter
from elastic_yolo.provision.run import Report
from elastic_yolo.store.layout import Layout
from elastic_yolo.store.reader import list_versions, resolve
from elastic_yolo.store.reference import Reference
from elastic_yolo.store.writer import Writer
from tests.provision.file_server import Site, serving
from tests.provision.mlflow_server import Registrar, tracking_server
from tests.provision.oci_server import push, registry
from tests.provision.provisioning import provision, stable
from tests.provision.proxy import Proxy, before
from tests.support.models import FILES, wanted, write_source

COMMITS = ("a" * 40, "b" * 40, "c" * 40)


@dataclass
class Moving:
    """A source with a constant address, and a function that publishes other files there."""

    source: str
    publish: Callable[[dict[str, bytes]], str]
    """Publishes files and points the address at them; returns the version."""
    requests: Callable[[], list[str]]
    reset: Callable[[], None]


def files_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.fixture(scope="module")
def registrar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registrar]:
    with tracking_server(tmp_path_factory.mktemp("mlflow")) as port:
        yield Registrar(port)


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with registry(tmp_path_factory.mktemp("registry")) as port:
        yield port


def counted(proxy: Proxy, source: str, publish: Callable[[dict[str, bytes]], str]) -> Moving:
    return Moving(source, publish, lambda: proxy.requests, proxy.reset)


@pytest.fixture
def by_alias(
    registrar: Registrar, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Moving]:
    name = tmp_path.name

    def publish(files: dict[str, bytes]) -> str:
        version = registrar.of_logged_model(name, files)
        registrar.alias(name, "production", version)
        return version

    with before(registrar.port) as proxy:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.url)
        yield counted(proxy, f"models:/{name}@production", publish)


@pytest.fixture
def by_stage(
    registrar: Registrar, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Moving]:
    name = tmp_path.name

    def publish(files: dict[str, bytes]) -> str:
        version = registrar.of_run(name, files)
        registrar.tag(name, version, "stage", "ready")
        registrar.of_run(name, {"not": b"ready"})
        return version

    with before(registrar.port) as proxy:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.url)
        yield counted(proxy, f"models:/{name}#stage=ready", publish)


@pytest.fixture
def by_tag(containers: int, tmp_path: Path) -> Iterator[Moving]:
    repository = tmp_path.name.replace("_", "-").lower()

    def publish(files: dict[str, bytes]) -> str:
        digest = push(containers, repository, files, "production")
        return digest.removeprefix("sha256:")[:12]

    with before(containers) as proxy:
        yield counted(proxy, f"oci://127.0.0.1:{proxy.port}/{repository}:production", publish)


@pytest.fixture
def by_branch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Moving]:
    """Return a small server that imitates Hugging Face."""
    commits = iter(COMMITS)
    with serving(Site({}, etag=None)) as site:
        monkeypatch.setenv("HF_ENDPOINT", site.url)

        def publish(files: dict[str, bytes]) -> str:
            commit = next(commits)
            for name, content in files.items():
                site.files[f"a/b/resolve/{commit}/{name}"] = content
                # Only requests for the commit itself get the content.
                site.files[f"a/b/resolve/main/{name}"] = b"of whichever commit"
            site.headers = {"X-Repo-Commit": commit}
            return commit

        paths: Callable[[], list[str]] = lambda: [path for path, _ in site.requests]  # noqa: E731
        yield Moving("hf://a/b", publish, paths, site.requests.clear)


@pytest.fixture(
    params=[
        pytest.param("by_alias", marks=pytest.mark.long),  # MLflow takes 15 s to start
        pytest.param("by_stage", marks=pytest.mark.long),
        "by_tag",
        "by_branch",
    ]
)
def moving(request: pytest.FixtureRequest) -> Moving:
    found: Moving = request.getfixturevalue(request.param)
    return found


def test_the_next_run_publishes_what_the_source_points_at(tmp_path: Path, moving: Moving) -> None:
    store = tmp_path / "store"
    first = moving.publish(files_of(write_source(tmp_path / "first")))
    assert outcome(provision(store, wanted(moving.source))) == ("published", first)
    assert stable(store) == first

    new = write_source(tmp_path / "second", cells=2)
    second = moving.publish(files_of(new))
    assert outcome(provision(store, wanted(moving.source))) == ("published", second)
    assert stable(store) == second
    folder = resolve(Reference(store, "tiny", "stable")).folder
    assert files_of(folder) == files_of(new)


def test_a_rollback_lasts_until_the_source_moves_again(tmp_path: Path, moving: Moving) -> None:
    """models.yaml stays the same; it names the version that its source resolves to."""
    store = tmp_path / "store"
    found = []

    def run() -> None:
        (report,) = provision(store, wanted(moving.source))
        found.append((report.outcome, len(report.pins), versions.index(stable(store))))

    versions: list[str] = []
    for number in range(2):
        versions.append(moving.publish(files_of(write_source(tmp_path / str(number), number + 1))))
        run()
    Writer(Layout(store)).roll_back("tiny", "stable")
    run()
    versions.append(moving.publish(files_of(write_source(tmp_path / "2", 3))))
    run()

    assert found == [
        ("published", 0, 0),
        ("published", 0, 1),
        ("present", 1, 0),
        ("published", 1, 2),
    ]


def outcome(reports: list[Report]) -> tuple[str, str]:
    (report,) = reports
    assert report.error is None
    return report.outcome, report.version


def test_an_unmoved_source_costs_one_request_and_no_write(tmp_path: Path, moving: Moving) -> None:
    store = tmp_path / "store"
    version = moving.publish(files_of(write_source(tmp_path / "first")))
    provision(store, wanted(moving.source))
    written = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    moving.reset()

    (report,) = provision(store, wanted(moving.source))

    assert (report.outcome, report.version, report.bytes) == ("present", version, 0)
    assert (report.requests, report.files) == (1, 0)
    assert len(moving.requests()) == 1
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == written


def test_a_source_that_moves_during_a_run_does_not_mix_versions(
    tmp_path: Path, moving: Moving
) -> None:
    """Another version is published during the download of the first file."""
    store = tmp_path / "store"
    old = files_of(write_source(tmp_path / "first"))
    new = files_of(write_source(tmp_path / "second", cells=2))
    first = moving.publish(old)
    moved: list[str] = []

    def move(*_: object) -> None:
        if not moved:
            moved.append(moving.publish(new))

    assert outcome(
        provision(store, wanted(moving.source), reporter=ProgressReporter(move, move, move))
    ) == (
        "published",
        first,
    )
    assert len(moved) == 1
    folder = resolve(Reference(store, "tiny", "stable")).folder
    assert files_of(folder) == old


def test_a_dry_run_reports_the_version_to_publish(tmp_path: Path, moving: Moving) -> None:
    store = tmp_path / "store"
    version = moving.publish(files_of(write_source(tmp_path / "first")))

    assert outcome(provision(store, wanted(moving.source), dry_run=True)) == (
        "would publish",
        version,
    )
    assert list(store.iterdir()) == []


def test_a_configured_version_in_the_store_needs_no_request(tmp_path: Path, moving: Moving) -> None:
    store = tmp_path / "store"
    moving.publish(files_of(write_source(tmp_path / "first")))
    model = wanted(moving.source, version="of-ours")
    assert outcome(provision(store, model)) == ("published", "of-ours")
    moving.reset()

    assert outcome(provision(store, model)) == ("present", "of-ours")
    assert moving.requests() == []


def test_records_contain_the_version_of_the_source(tmp_path: Path, by_tag: Moving) -> None:
    store = tmp_path / "store"
    version = by_tag.publish(files_of(write_source(tmp_path / "first")))
    provision(store, wanted(by_tag.source))

    (record,) = list_versions(Layout(store), "tiny")
    assert record.source.startswith(by_tag.source.removesuffix(":production") + "@sha256:")
    assert version in record.source


def test_layers_that_the_store_has_are_not_downloaded(tmp_path: Path, by_tag: Moving) -> None:
    store = tmp_path / "store"
    by_tag.publish(files_of(write_source(tmp_path / "first")))
    provision(store, wanted(by_tag.source))
    wider = write_source(tmp_path / "second", cells=2)
    by_tag.publish(files_of(wider))

    (report,) = provision(store, wanted(by_tag.source))

    assert (report.outcome, report.files) == ("published", 1)
    assert report.bytes == (wider / "tiny.cfg").stat().st_size


def test_a_source_without_versions_gets_version_1(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")

    assert outcome(provision(tmp_path / "store", wanted(source))) == ("published", "1")


def test_an_unavailable_registry_is_retried_and_retryable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")

    (report,) = provision(tmp_path / "store", wanted("models:/tiny@production"))

    assert (report.outcome, report.retryable, report.requests) == ("failed", True, 5)
    assert report.version == "?"
