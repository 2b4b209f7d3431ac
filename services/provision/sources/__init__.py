"""Where files come from: one module for each kind of address."""

from __future__ import annotations

from urllib.parse import urlsplit

from services.provision.errors import ConfigError
from services.provision.sources.files import open_file
from services.provision.sources.http import open_http
from services.provision.sources.opened import Open, Opened, Start, shown

__all__ = ["Open", "Opened", "Start", "choose_source", "shown"]

_KINDS: dict[str, Open] = {
    "": open_file,
    "file": open_file,
    "http": open_http,
    "https": open_http,
}


def choose_source(address: str) -> Open:
    """Return what opens an address; raises ConfigError for a kind that nobody knows."""
    kind = urlsplit(address).scheme
    if kind not in _KINDS:
        known = ", ".join(name for name in _KINDS if name)
        raise ConfigError(f"{shown(address)}: sources are {known}")
    return _KINDS[kind]
