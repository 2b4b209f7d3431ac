"""The paths of a store.

blobs/HEX                                   every file, named by its SHA-256
incoming/HEX-or-key                         partial downloads
models/NAME/versions/VERSION-HEX/...        the files of a version, under their own names
models/NAME/versions/VERSION-HEX.json       the version's record
models/NAME/channels/CHANNEL.json           the version that a channel points at
lock                                        locked by the writer
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """The paths of the store at `root`."""

    root: Path

    @property
    def lock(self) -> Path:
        """The file that a writer locks."""
        return self.root / "lock"

    @property
    def blobs(self) -> Path:
        """The folder of all files by their digests."""
        return self.root / "blobs"

    @property
    def incoming(self) -> Path:
        """The folder of partial downloads."""
        return self.root / "incoming"

    @property
    def models(self) -> Path:
        """The folder of all models."""
        return self.root / "models"

    def blob(self, digest: str) -> Path:
        """Return the file with a digest."""
        return self.blobs / digest.removeprefix("sha256:")

    def versions(self, name: str) -> Path:
        """Return the folder of a model's versions."""
        return self.models / name / "versions"

    def version(self, name: str, identity: str) -> Path:
        """Return the folder of a version, which is a model folder for MODEL_PATH."""
        return self.versions(name) / identity

    def version_record(self, name: str, identity: str) -> Path:
        """Return the record of a version: its files, source and time."""
        return self.versions(name) / f"{identity}.json"

    def channels(self, name: str) -> Path:
        """Return the folder of a model's channels."""
        return self.models / name / "channels"

    def channel(self, name: str, channel: str) -> Path:
        """Return the record of a channel: the version that it points at."""
        return self.channels(name) / f"{channel}.json"
