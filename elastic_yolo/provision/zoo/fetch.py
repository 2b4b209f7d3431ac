"""Download the files of a model of the zoo that this package does not contain.

~/.cache/elastic-yolo/models/.download/incoming/   partial downloads
~/.cache/elastic-yolo/models/.download/blobs/      files that are complete, until their model is
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from elastic_yolo.digest import digest_of_file
from elastic_yolo.durable import make_folder
from elastic_yolo.names import Digest
from elastic_yolo.progress import transfer_size
from elastic_yolo.provision.download import Download, space_check
from elastic_yolo.provision.errors import ProvisionError, SourceUnreachable, WrongContent
from elastic_yolo.provision.fallback import fetch_first
from elastic_yolo.provision.progress import Progress
from elastic_yolo.provision.sources import redacted
from elastic_yolo.provision.zoo.first_digest import (
    check_hashes,
    read_first_digest,
    write_first_digest,
)
from elastic_yolo.provision.zoo.table import ZooFile, ZooModel
from elastic_yolo.store.layout import Layout

# A user waits in front of it.
_ATTEMPTS = 2


class Fetched(NamedTuple):
    """A complete file with the expected content."""

    path: Path
    digest: Digest


def fetch_files(
    model: ZooModel, root: Path, progress: Progress, say: Callable[[str], None]
) -> dict[str, Fetched]:
    """Return the downloaded files of a model by name, after fetching those that are missing.

    `root` is the folder of all models. A file that a failed pull completed is not fetched again.
    Raises ProvisionError, StoreFull, or OSError.
    """
    layout = Layout(root / ".download")
    notes = _Notes(say)

    def show(what: str, done: int, total: int) -> None:
        notes.release()
        progress(what, done, total)

    download = Download(layout, show, space_check(layout), attempts=_ATTEMPTS)
    fetcher = _Fetcher(model, download, root / f".{model.name}.first", notes)
    return {file.name: fetcher.fetch(file) for file in model.downloaded}


class _Notes:
    """Lines about sources, held until one delivers: without a network, the error is enough."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self._held: list[str] = []

    def hold(self, line: str) -> None:
        self._held.append(line)

    def release(self) -> None:
        while self._held:
            self.say(self._held.pop(0))

    def drop(self) -> None:
        self._held.clear()


@dataclass(frozen=True)
class _Fetcher:
    """Fetches files of one model; `first` is the record of the first pull's digest."""

    model: ZooModel
    download: Download
    first: Path
    notes: _Notes

    def fetch(self, file: ZooFile) -> Fetched:
        recorded = None if file.digest else read_first_digest(self.first, self.model.version)
        expected = file.digest or recorded
        if expected is not None and (complete := self._complete(expected)) is not None:
            return complete
        self._say(f"{file.name}, {transfer_size(file.size)} from {redacted(file.sources[0])}")
        fetch = partial(self._fetch_from, file, expected)
        try:
            part, digest = fetch_first(file.name, file.sources, fetch, self.notes.hold)
        except ProvisionError as error:
            if isinstance(error, SourceUnreachable):
                self.notes.drop()
            self.notes.release()
            advice = self._advice(error, recorded)
            raise type(error)(f"{self.model.name}: {error}{advice}") from error
        if file.digest is None:
            if recorded is None:
                self._say(f"no project states the digest of {file.name}: recorded {digest}")
            write_first_digest(self.first, self.model.version, digest)
            self.download.forget_finished()
        blob = self.download.layout.blob(digest)
        make_folder(blob.parent)
        return Fetched(part.replace(blob), digest)

    def _complete(self, digest: Digest) -> Fetched | None:
        """Return the file that an earlier pull completed, if it is intact."""
        blob = self.download.layout.blob(digest)
        intact = blob.is_file() and digest_of_file(blob) == digest
        return Fetched(blob, digest) if intact else None

    def _fetch_from(
        self,
        file: ZooFile,
        expected: Digest | None,
        address: str,
        fallback: bool,  # noqa: FBT001  # see fallback.Fetch
    ) -> tuple[Path, Digest]:
        part, digest = self.download.fetch(
            address, file.name, expected, size=file.size, fallback=fallback
        )
        check_hashes(part, file)
        return part, digest

    def _advice(self, error: ProvisionError, recorded: Digest | None) -> str:
        if isinstance(error, WrongContent) and recorded is not None:
            return (
                f"; {self.first} has the digest of the first pull: delete it if the new content "
                "is right"
            )
        return "; is there a network?" if error.retryable else ""

    def _say(self, text: str) -> None:
        self.notes.say(f"{self.model.name}: {text}")
