"""The package indexes that pip is set up for: pages of projects, and archives."""

from __future__ import annotations

import netrc
import ssl
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from elastic_yolo.provision.errors import ConfigError, SourceRefused, SourceUnavailable
from elastic_yolo.provision.sources.api import call_api
from elastic_yolo.provision.sources.files import open_file
from elastic_yolo.provision.sources.http import Connection, open_with
from elastic_yolo.provision.sources.index_page import ACCEPT, IndexFile, normalised, parse_page
from elastic_yolo.provision.sources.pip_config import PipSettings, read_pip_settings
from elastic_yolo.provision.sources.stream import ResumePoint, SourceStream

LABEL = "the package index"
_HERE = "file:"
_MOST_PAGE_BYTES = 4 * 2**20
# A transfer that breaks off after less is not continued.
_LEAST_PROGRESS_BYTES = 100_000


@dataclass(frozen=True)
class PackageIndex:
    """One index; `url` may contain credentials."""

    url: str
    settings: PipSettings

    def project(self, name: str) -> list[IndexFile]:
        """Return the files of a project; empty if the index does not have it.

        Raises SourceUnavailable or SourceRefused.
        """
        url = f"{self.url}/{normalised(name)}/"
        if url.startswith(_HERE):
            return self._parse(_read_page(f"{url}index.html"), "text/html", url)
        headers = {"Accept": ACCEPT, **self._credentials(url)}
        response = call_api(url, headers=headers, connection=self._connection(url))
        if response.status in (404, 410):
            return []
        content_type = response.require_success().headers.get("content-type", "")
        return self._parse(response.body, content_type, response.url)

    @contextmanager
    def archive(self, url: str) -> Iterator[Iterator[bytes]]:
        """Provide the bytes of an archive; raises SourceUnavailable or SourceRefused."""
        if url.startswith(("https://", "http://")):
            yield self._download(url)
            return
        # A page from the network must not name files of this machine.
        if not (url.startswith(_HERE) and self.url.startswith(_HERE)):
            raise SourceRefused(f"{LABEL}: an archive at an address of another kind")
        try:
            with open_file(url, ResumePoint()) as opened:
                yield opened.chunks
        except OSError as error:
            raise SourceUnavailable(f"{LABEL}: {error.strerror}") from None

    def _download(self, url: str) -> Iterator[bytes]:
        """Yield all bytes; a transfer that breaks off is continued while it makes progress."""
        start = ResumePoint()
        while True:
            before = start.offset
            try:
                with open_with(self._credentials(url), url, start, self._connection(url)) as opened:
                    _require_offset(opened, before)
                    for chunk in opened.chunks:
                        start = ResumePoint(start.offset + len(chunk), opened.validator)
                        yield chunk
            except SourceUnavailable:
                if start.offset - before < _LEAST_PROGRESS_BYTES or start.validator is None:
                    raise
            else:
                return

    def _parse(self, body: bytes, content_type: str, url: str) -> list[IndexFile]:
        try:
            return parse_page(body, content_type, url)
        except ValueError as error:
            raise SourceRefused(f"{LABEL}: invalid response: {error}") from None

    def _connection(self, url: str) -> Connection:
        host = urlsplit(url)
        trusted = {host.hostname, f"{host.hostname}:{host.port}"} & self.settings.trusted_hosts
        return Connection(
            label=LABEL,
            verify=not trusted and _certificates(self.settings.cert),
            proxy=self.settings.proxy,
        )

    def _credentials(self, url: str) -> dict[str, str]:
        """Return the headers for an address: the index's credentials, on its own host only."""
        own, host = urlsplit(self.url), urlsplit(url)
        if (own.scheme, own.hostname, own.port) != (host.scheme, host.hostname, host.port):
            return {}
        if own.username is not None:
            pair = f"{unquote(own.username)}:{unquote(own.password or '')}"
        elif (found := _from_netrc(own.hostname or "")) is not None:
            pair = found
        else:
            return {}
        return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}


def open_indexes() -> Iterator[PackageIndex]:
    """Yield the indexes in pip's order; raises ConfigError for invalid settings of pip."""
    settings = read_pip_settings()
    for url in settings.indexes:
        if not url.startswith(("https://", "http://", _HERE)):
            raise ConfigError(f"{LABEL}: expected an address with https:, http: or file:")
        yield PackageIndex(url, settings)


def _require_offset(opened: SourceStream, offset: int) -> None:
    """Raise SourceUnavailable if the server has started again at 0."""
    if opened.offset != offset:
        raise SourceUnavailable(f"{LABEL}: an interrupted transfer cannot be continued")


def _read_page(url: str) -> bytes:
    """Return the page of an index that is a folder; empty if it does not have the project."""
    path = Path(unquote(urlsplit(url).path))
    try:
        if path.stat().st_size > _MOST_PAGE_BYTES:
            raise SourceRefused(f"{LABEL}: a page exceeds {_MOST_PAGE_BYTES:,} bytes")
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as error:
        raise SourceUnavailable(f"{LABEL}: {error.strerror}") from None


def _certificates(cert: str | None) -> ssl.SSLContext | bool:
    if cert is None:
        return True
    try:
        if Path(cert).is_dir():
            return ssl.create_default_context(capath=cert)
        return ssl.create_default_context(cafile=cert)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{LABEL}: pip's cert {cert}: {error.strerror or error}") from None


def _from_netrc(host: str) -> str | None:
    try:
        found = netrc.netrc().authenticators(host)
    except (OSError, netrc.NetrcParseError):
        return None
    return found and f"{found[0]}:{found[2]}"
