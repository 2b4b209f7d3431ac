"""A project's page of a package index: the files of the project, with their hashes.

https://packaging.python.org/en/latest/specifications/simple-repository-api/ (PEP 503, PEP 691)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Annotated
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from pydantic import BaseModel, Field, ValidationError

ACCEPT = (
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.5, "
    "text/html;q=0.1"
)
# The best first; older indexes state MD5.
_HASHES = ("sha512", "sha384", "sha256", "sha1", "md5")
_SDISTS = (".tar.gz", ".tgz", ".zip")
_FRAGMENT = re.compile(r"(\w+)=([0-9a-f]{32,128})")


@dataclass(frozen=True)
class IndexFile:
    """One archive of a project."""

    name: str
    url: str
    hash: tuple[str, str] | None
    """Name of the algorithm and hexadecimal digits, if the index states any."""

    @property
    def is_wheel(self) -> bool:
        """Whether this is a wheel; otherwise it is a source distribution."""
        return self.name.endswith(".whl")

    @property
    def folder(self) -> str:
        """The folder in the archive that has the package's files: none, or PROJECT-VERSION/."""
        if self.is_wheel:
            return ""
        return f"{next(self.name.removesuffix(end) for end in _SDISTS if self.name.endswith(end))}/"


class _JsonFile(BaseModel):
    filename: str
    url: str
    hashes: dict[str, str] = {}


class _JsonPage(BaseModel):
    files: Annotated[list[_JsonFile], Field(max_length=100_000)]


def normalised(project: str) -> str:
    """Return a project's name as indexes write it."""
    return re.sub(r"[-_.]+", "-", project).lower()


def parse_page(body: bytes, content_type: str, url: str) -> list[IndexFile]:
    """Return the files on a page that was read from `url`; raises ValueError."""
    if "json" in content_type:
        try:
            page = _JsonPage.model_validate_json(body)
        except ValidationError as error:
            raise ValueError(f"{error.error_count()} invalid fields") from None
        return [
            IndexFile(one.filename, urljoin(url, one.url), _best(one.hashes)) for one in page.files
        ]
    parser = _Links()
    parser.feed(body.decode("utf-8", errors="replace"))
    return list(_from_links(parser, url))


def choose_files(files: list[IndexFile], project: str, version: str) -> list[IndexFile]:
    """Return the archives of one version: a wheel for every platform if there is one, an sdist."""
    wheels = [one for one in files if _is_wheel_of(one.name, project, version)]
    sdists = [one for one in files if _is_sdist_of(one.name, project, version)]
    wheels.sort(key=lambda one: not one.name.endswith("-none-any.whl"))
    return [*wheels[:1], *sdists[:1]]


class _Links(HTMLParser):
    """Collects the addresses of all links."""

    def __init__(self) -> None:
        super().__init__()
        self.base = ""
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        address = dict(attrs).get("href") or ""
        if tag == "base":
            self.base = self.base or address
        elif tag == "a" and address:
            self.links.append(address)


def _from_links(parser: _Links, url: str) -> Iterator[IndexFile]:
    for link in parser.links:
        address, fragment = urldefrag(urljoin(urljoin(url, parser.base), link))
        name = unquote(urlsplit(address).path.rpartition("/")[2])
        found = _FRAGMENT.fullmatch(fragment)
        yield IndexFile(name, address, found and _best({found[1]: found[2]}))


def _best(hashes: dict[str, str]) -> tuple[str, str] | None:
    return next(((kind, hashes[kind]) for kind in _HASHES if kind in hashes), None)


def _is_wheel_of(name: str, project: str, version: str) -> bool:
    parts = name.split("-")
    return (
        name.endswith(".whl")
        and len(parts) in (5, 6)
        and (normalised(parts[0]), parts[1]) == (normalised(project), version)
    )


def _is_sdist_of(name: str, project: str, version: str) -> bool:
    stem = next((name.removesuffix(end) for end in _SDISTS if name.endswith(end)), "")
    head, _, tail = stem.rpartition("-")
    return (normalised(head), tail) == (normalised(project), version)
