"""Files inside packages, from real package indexes: static pages as in PEP 503 and PEP 691."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from base64 import b64encode
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from elastic_yolo.digest import digest_of_bytes
from elastic_yolo.provision.errors import (
    ConfigError,
    ProvisionError,
    SourceRefused,
    SourceUnavailable,
    WrongContent,
)
from tests.provision.fetcher import CONTENT, DIGEST, Fetcher
from tests.provision.file_server import Site, serving

NAME = "data/net.weights"
ADDRESS = f"pypi:Some.Nets==1.2/{NAME}"
SDIST, WHEEL = "some_nets-1.2.tar.gz", "some_nets-1.2-py3-none-any.whl"
Files = Sequence[tuple[str, bytes]]


@pytest.fixture(autouse=True)
def no_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove the developer's own settings of pip."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "none"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An empty index that pip is set up for."""
    with serving(Site({}, headers={"Content-Type": "text/html"})) as site:
        monkeypatch.setenv("PIP_INDEX_URL", f"{site.url}/simple/")
        yield site


def tar(*files: tuple[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=1) as archive:
        for name, content in files:
            info = tarfile.TarInfo(f"some_nets-1.2/{name}")
            info.size, info.type = len(content), kind
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def wheel(*files: tuple[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return stream.getvalue()


OTHERS = (("setup.py", b"raise SystemExit('setup.py was run')"), ("data/big", bytes(3_000_000)))
SDIST_CONTENT = tar(*OTHERS, (NAME, CONTENT), ("tail", bytes(200_000)))


def publish(site: Site, name: str, content: bytes, *, sha256: str | None = None) -> None:
    """Add an archive to the index's page of the project, as HTML."""
    stated = sha256 or hashlib.sha256(content).hexdigest()
    link = f'<a href="../../files/{name}#sha256={stated}">{name}</a><br>\n'.encode()
    page = "simple/some-nets/"
    site.files[page] = site.files.get(page, b"<!DOCTYPE html><html><body>") + link
    site.files[f"files/{name}"] = content


def test_a_file_of_an_sdist_is_extracted_and_nothing_is_run(index: Site, tmp_path: Path) -> None:
    publish(index, SDIST, SDIST_CONTENT)
    fetcher = Fetcher(tmp_path)

    assert fetcher.fetch(ADDRESS) == CONTENT
    assert [path for path, _ in index.requests] == ["/simple/some-nets/", f"/files/{SDIST}"]
    assert fetcher.seen[-1] == ("file", len(CONTENT), len(CONTENT))


def test_a_file_of_a_wheel_is_extracted(index: Site, tmp_path: Path) -> None:
    """The wheel is preferred; what only the source distribution has is found there."""
    publish(index, SDIST, tar((NAME, b"other"), ("only/there", CONTENT)))
    publish(index, WHEEL, wheel((NAME, CONTENT)))

    fetcher = Fetcher(tmp_path)
    assert fetcher.fetch(ADDRESS) == CONTENT
    arrived = [done for name, done, _ in fetcher.seen if name == "the package with file"]
    assert arrived[-1] == len(index.files[f"files/{WHEEL}"])
    assert Fetcher(tmp_path).fetch("pypi:some-nets==1.2/only/there") == CONTENT


def test_pip_itself_takes_the_same_wheel_from_this_index(index: Site, tmp_path: Path) -> None:
    """The pages are those of a real index: pip downloads from it, and checks the hash."""
    info = "some_nets-1.2.dist-info"
    meta = (f"{info}/METADATA", b"Metadata-Version: 2.1\nName: some-nets\nVersion: 1.2\n")
    about = (f"{info}/WHEEL", b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    content = wheel((NAME, CONTENT), meta, about, (f"{info}/RECORD", b""))
    publish(index, WHEEL, content)
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir",
         "--dest", tmp_path / "pip", "some-nets==1.2"],
        check=True, env=dict(os.environ), stdin=subprocess.DEVNULL,
    )  # fmt: skip

    assert (tmp_path / "pip" / WHEEL).read_bytes() == content
    assert Fetcher(tmp_path).fetch(ADDRESS) == CONTENT


def test_json_pages_are_read(index: Site, tmp_path: Path) -> None:
    sha256 = hashlib.sha256(SDIST_CONTENT).hexdigest()
    file = {"filename": SDIST, "url": f"/f/{SDIST}", "hashes": {"sha256": sha256}, "size": 1}
    page = {"meta": {"api-version": "1.1"}, "name": "some-nets", "files": [file]}
    index.files["simple/some-nets/"] = json.dumps(page).encode()
    index.files[f"f/{SDIST}"] = SDIST_CONTENT
    index.headers = {"Content-Type": "application/vnd.pypi.simple.v1+json"}

    assert Fetcher(tmp_path).fetch(ADDRESS) == CONTENT
    assert "application/vnd.pypi.simple.v1+json" in index.heads[0]["Accept"]


def test_an_interrupted_archive_is_continued(index: Site, tmp_path: Path) -> None:
    body = tar((NAME, CONTENT))
    publish(index, SDIST, body)
    cuts = iter([10**9, 150_000])
    index.cut_after = lambda: next(cuts, 10**9)

    assert Fetcher(tmp_path).fetch(ADDRESS) == CONTENT
    assert [wanted for _, wanted in index.requests] == [None, None, "bytes=150000-"]
    assert index.sent == len(body) + len(index.files["simple/some-nets/"])


def test_an_archive_with_another_hash_is_refused(index: Site, tmp_path: Path) -> None:
    """Also where the file itself is as expected: the index and its archive disagree."""
    for name, content in ((SDIST, SDIST_CONTENT), (WHEEL, wheel((NAME, CONTENT)))):
        index.files.clear()
        publish(index, name, content, sha256="0" * 64)
        fetcher = Fetcher(tmp_path)
        with pytest.raises(WrongContent, match=f"{name}: the package index states sha256 000"):
            fetcher.fetch(ADDRESS)
        assert not any(fetcher.layout.incoming.iterdir())


def test_the_digest_of_the_file_itself_is_checked(index: Site, tmp_path: Path) -> None:
    publish(index, SDIST, tar((NAME, b"other")))
    with pytest.raises(WrongContent, match=f"expected {DIGEST}, found {digest_of_bytes(b'other')}"):
        Fetcher(tmp_path).fetch(ADDRESS)


@pytest.mark.parametrize("keep", [100, 10_000, 250_000])
def test_a_damaged_archive_is_one_error(index: Site, tmp_path: Path, keep: int) -> None:
    publish(index, SDIST, SDIST_CONTENT[:keep] + b"damaged" * 10)
    with pytest.raises(WrongContent, match="the archive is damaged"):
        Fetcher(tmp_path).fetch(ADDRESS)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_special_files_are_not_followed(index: Site, tmp_path: Path, kind: bytes) -> None:
    publish(index, SDIST, tar((NAME, b""), kind=kind))
    with pytest.raises(SourceRefused, match=f"the archive has no some_nets-1.2/{NAME}"):
        Fetcher(tmp_path).fetch(ADDRESS)


def test_an_endless_header_of_an_archive_is_refused(index: Site, tmp_path: Path) -> None:
    """A long name is read into memory: 50 MB of it compress to 50 kB."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        info = tarfile.TarInfo("././@LongLink")
        info.type, info.size = tarfile.GNUTYPE_LONGNAME, 50_000_000
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    publish(index, SDIST, stream.getvalue())
    with pytest.raises(SourceRefused, match="unusually long header"):
        Fetcher(tmp_path).fetch(ADDRESS)


@pytest.mark.parametrize(
    "address",
    [
        "pypi:some-nets/data/net.weights",
        "pypi:some-nets==1.2",
        "pypi:some-nets>=1/x",
        "pypi:some-nets==1.2/../x",
        "pypi:a/b==1/x",
    ],
)
def test_an_address_without_an_exact_version_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(ConfigError, match="expected pypi:PROJECT==VERSION/PATH"):
        Fetcher(tmp_path).fetch(address)


@pytest.mark.parametrize("version", ["1", "1.2.1", "2"])
def test_other_versions_are_not_taken(index: Site, tmp_path: Path, version: str) -> None:
    publish(index, SDIST, SDIST_CONTENT)
    publish(index, "some_nets_more-1.2.tar.gz", SDIST_CONTENT)
    with pytest.raises(SourceRefused, match=f"no archive of some-nets {version}$"):
        Fetcher(tmp_path).fetch(f"pypi:some-nets=={version}/{NAME}")


def test_further_indexes_are_asked_in_order(
    index: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.files["simple/some-nets/"] = b""
    with serving(Site({})) as missing, serving(Site({})) as extra:
        publish(extra, SDIST, SDIST_CONTENT)
        addresses = f"{missing.url}/simple http://127.0.0.1:1/simple\n{extra.url}/simple"
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", addresses)

        assert Fetcher(tmp_path).fetch(ADDRESS) == CONTENT
    assert len(index.requests) == len(missing.requests) == 1


def test_an_index_that_is_a_folder_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "simple" / "some-nets"
    page.mkdir(parents=True)
    (page / "index.html").write_text(f'<a href="{SDIST}">{SDIST}</a>')
    (page / SDIST).write_bytes(SDIST_CONTENT)
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "simple").as_uri())

    assert Fetcher(tmp_path / "store").fetch(ADDRESS) == CONTENT
    with pytest.raises(SourceRefused, match="the package index has no archive of absent 1"):
        Fetcher(tmp_path / "store").fetch("pypi:absent==1/x")


def test_a_page_from_the_network_cannot_name_a_local_file(index: Site, tmp_path: Path) -> None:
    local = tmp_path / SDIST
    local.write_bytes(SDIST_CONTENT)
    index.files["simple/some-nets/"] = f'<a href="{local.as_uri()}">x</a>'.encode()
    with pytest.raises(SourceRefused, match="an archive at an address of another kind"):
        Fetcher(tmp_path / "store").fetch(ADDRESS)


def test_credentials_go_to_the_index_alone(
    index: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Site({f"f/{SDIST}": SDIST_CONTENT})) as elsewhere:
        link = f'<a href="{elsewhere.url}/f/{SDIST}">{SDIST}</a>'
        index.files["simple/some-nets/"] = link.encode()
        address = index.url.replace("//", "//user:se%40cret@")
        monkeypatch.setenv("PIP_INDEX_URL", f"{address}/simple")

        assert Fetcher(tmp_path).fetch(ADDRESS) == CONTENT
    expected = f"Basic {b64encode(b'user:se@cret').decode()}"
    assert [head.get("Authorization") for head in index.heads] == [expected]
    assert [head.get("Authorization") for head in elsewhere.heads] == [None]


def test_credentials_of_netrc_are_used(index: Site, tmp_path: Path) -> None:
    publish(index, SDIST, SDIST_CONTENT)
    netrc = Path(os.environ["HOME"]) / ".netrc"
    netrc.write_text("machine 127.0.0.1 login user password secret\n")
    netrc.chmod(0o600)

    assert Fetcher(tmp_path / "store").fetch(ADDRESS) == CONTENT
    expected = f"Basic {b64encode(b'user:secret').decode()}"
    assert {head.get("Authorization") for head in index.heads} == {expected}


@pytest.mark.parametrize("fault", ["unreachable", "503", "404", "html", "json"])
def test_no_error_has_the_address_of_the_index(
    index: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    address = index.url.replace("//", "//user:secret@")
    monkeypatch.setenv("PIP_INDEX_URL", f"{address}/simple")
    if fault == "unreachable":
        monkeypatch.setenv("PIP_INDEX_URL", "http://user:secret@127.0.0.1:1/simple")
    elif fault == "503":
        index.statuses = [503] * 100
    elif fault == "html":
        index.files["simple/some-nets/"] = f'<a href="/none/{SDIST}">x</a>'.encode()
    elif fault == "json":
        index.files["simple/some-nets/"] = b"[]"
        index.headers = {"Content-Type": "application/json"}
    with pytest.raises(ProvisionError) as raised:
        Fetcher(tmp_path).fetch(ADDRESS)

    text = str(raised.value)
    assert text.startswith(f"{ADDRESS}: the package index")
    assert not [word for word in ("secret", "127.0.0.1", "http", "\n") if word in text]
    assert isinstance(raised.value, SourceUnavailable) == (fault in ("unreachable", "503"))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that no authority has signed, and its key, in one file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed: this test connects to NOTHING")
    path = tmp_path_factory.mktemp("tls") / "cert.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", path.with_suffix(".key"), "-out", path],
        check=True, capture_output=True,
    )  # fmt: skip
    path.write_bytes(path.read_bytes() + path.with_suffix(".key").read_bytes())
    return path


@pytest.mark.parametrize("setting", ["PIP_CERT", "PIP_TRUSTED_HOST"])
def test_an_index_with_a_certificate_of_its_own_needs_pips_setting(
    certificate: Path, setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Site({}), certificate) as index:
        publish(index, SDIST, SDIST_CONTENT)
        monkeypatch.setenv("PIP_INDEX_URL", f"{index.url}/simple")
        with pytest.raises(SourceUnavailable) as raised:
            Fetcher(tmp_path).fetch(ADDRESS)
        assert "127.0.0.1" not in str(raised.value)
        monkeypatch.setenv(setting, str(certificate) if setting == "PIP_CERT" else "127.0.0.1")

        assert Fetcher(tmp_path).fetch(ADDRESS) == CONTENT
