"""Pin moving sources: resolve a tag, alias or branch once in a run and read all files there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, Protocol

from elastic_yolo.provision.config import ModelConfig
from elastic_yolo.provision.sources import Pinned, choose_pin, redacted

# The version of a model whose source has no versions.
_ONLY_VERSION = "1"


class Retry(Protocol):
    """Calls a function, repeatedly if it raises a retryable ProvisionError."""

    def __call__(
        self, operation: Callable[[], Pinned | None], *, fallback: bool = False
    ) -> Pinned | None:
        """Return what `operation` returns; with `fallback` it is called once."""


class FileSource(NamedTuple):
    """The pinned address of a file, and its digest if models.yaml or the source has one."""

    address: str
    digest: str | None


@dataclass(frozen=True)
class PinnedSources:
    """The sources of one model, each pinned on first use: files of two versions never mix."""

    model: ModelConfig
    retry: Retry
    _pinned: dict[str, Pinned | None] = field(default_factory=dict)

    def version(self) -> str:
        """Return the version in models.yaml, or else that of the source; raises ProvisionError."""
        if self.model.version is not None:
            return self.model.version
        pinned = self._pin_model_source()
        return _ONLY_VERSION if pinned is None else pinned.version

    def source(self) -> str:
        """Return the model's source address for the store's records, without credentials."""
        pinned = self._pin_model_source()
        first = self.model.addresses(next(iter(self.model.files)))[0]
        return redacted(self.model.source or first) if pinned is None else redacted(pinned.folder)

    def file_source(self, name: str, address: str, *, fallback: bool = False) -> FileSource:
        """Return the pinned address and digest of a file at one of its addresses.

        Raises ProvisionError; with `fallback`, another source, after a single attempt.
        """
        wanted = self.model.files[name].digest
        pinned = self._pin(address, fallback=fallback)
        if pinned is None:
            return FileSource(address, wanted)
        file_name = address.rpartition("/")[2]
        return FileSource(f"{pinned.folder}/{file_name}", wanted or pinned.digests.get(file_name))

    def _pin_model_source(self) -> Pinned | None:
        from_source = (name for name, file in self.model.files.items() if not file.addresses)
        name = next(from_source, None) if self.model.source else None
        return None if name is None else self._pin(self.model.addresses(name)[0])

    def _pin(self, address: str, *, fallback: bool = False) -> Pinned | None:
        folder, _, name = address.rpartition("/")
        pin = choose_pin(folder)
        if pin is None:
            return None
        if folder not in self._pinned:
            self._pinned[folder] = self.retry(partial(pin, folder, name), fallback=fallback)
        return self._pinned[folder]
