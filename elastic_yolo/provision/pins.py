"""Sources that move: where they point is asked once in a run, and read from there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from elastic_yolo.provision.config import WantedModel
from elastic_yolo.provision.sources import Pinned, choose_pin, shown

# Of what has no version of its own, and what is called so from the first day.
_ONLY_VERSION = "1"

Insist = Callable[[Callable[[], Pinned | None]], Pinned | None]
"""Calls something, again where that may help."""


class Place(NamedTuple):
    """Where a file is, and its digest if anybody has said it."""

    address: str
    digest: str | None


@dataclass(frozen=True)
class Pins:
    """What the sources of one model have now: files of two versions are never mixed."""

    model: WantedModel
    insist: Insist
    _found: dict[str, Pinned | None] = field(default_factory=dict)

    def version(self) -> str:
        """Return what models.yaml says, or else the source; raises ProvisionError."""
        if self.model.version is not None:
            return self.model.version
        pinned = self._of_source()
        return _ONLY_VERSION if pinned is None else pinned.version

    def source(self) -> str:
        """Return where the model comes from, as records have it."""
        pinned = self._of_source()
        first = self.model.address(next(iter(self.model.files)))
        return shown(self.model.source or first) if pinned is None else shown(pinned.folder)

    def place(self, name: str) -> Place:
        """Return where a file is read from; raises ProvisionError."""
        stated = self.model.files[name].digest
        address = self.model.address(name)
        pinned = self._pin(address)
        if pinned is None:
            return Place(address, stated)
        last = address.rpartition("/")[2]
        said = pinned.digests.get(last)
        return Place(f"{pinned.folder}/{last}", stated or said)

    def _of_source(self) -> Pinned | None:
        own = (name for name, file in self.model.files.items() if file.source is None)
        name = next(own, None) if self.model.source else None
        return None if name is None else self._pin(self.model.address(name))

    def _pin(self, address: str) -> Pinned | None:
        folder, _, name = address.rpartition("/")
        pin = choose_pin(folder)
        if pin is None:
            return None
        if folder not in self._found:
            self._found[folder] = self.insist(partial(pin, folder, name))
        return self._found[folder]
