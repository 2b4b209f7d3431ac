"""Where things are in a store.

blobs/HEX                                   every file, named by its SHA-256
incoming/HEX-or-key                         downloads that are not finished
models/NAME/versions/VERSION-HEX/...        the files of a version, under their own names
models/NAME/versions/VERSION-HEX.json       what it consists of
models/NAME/channels/CHANNEL.json           which version that is at the moment
lock                                        held by who writes
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
        """The folder of unfinished downloads."""
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
        """Return the folder of a version: a model folder as MODEL_PATH takes it."""
        return self.versions(name) / identity

    def version_record(self, name: str, identity: str) -> Path:
        """Return the file that says what a version consists of."""
        return self.versions(name) / f"{identity}.json"

    def channels(self, name: str) -> Path:
        """Return the folder of a model's channels."""
        return self.models / name / "channels"

    def channel(self, name: str, channel: str) -> Path:
        """Return the file that says where a channel points."""
        return self.channels(name) / f"{channel}.json"
