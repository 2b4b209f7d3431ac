"""The settings of pip that say where its package index is.

Files, environment variables and their order as in pip's documentation, topic "Configuration";
https://pip.pypa.io/en/stable/topics/configuration/. Later ones take precedence.
"""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from elastic_yolo.provision.errors import ConfigError

_DEFAULT_INDEX = "https://pypi.org/simple"
# `pip install` reads both.
_SECTIONS = ("global", "install")
_MOST_BYTES = 2**20
_MOST_INDEXES = 20


@dataclass(frozen=True)
class PipSettings:
    """What pip would use; addresses may contain credentials."""

    indexes: tuple[str, ...]
    trusted_hosts: frozenset[str] = frozenset()
    """Hosts, or hosts with a port, whose certificate is not checked."""
    cert: str | None = None
    """File or folder with the certificates of authorities."""
    proxy: str | None = None


def read_pip_settings(environment: Mapping[str, str] = os.environ) -> PipSettings:
    """Read pip's configuration files and environment variables; raises ConfigError."""
    options: dict[str, str] = {}
    for path in _files(environment):
        options |= _read(path)
    options |= {
        name[4:].lower().replace("_", "-"): value
        for name, value in environment.items()
        if name.startswith("PIP_") and value
    }
    if options.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        raise ConfigError("the package index: pip is set to use none (no-index)")
    extra = options.get("extra-index-url", "").split()
    indexes = [options.get("index-url", _DEFAULT_INDEX), *extra]
    if len(indexes) > _MOST_INDEXES:
        raise ConfigError(f"the package index: pip names {len(indexes)}: at most {_MOST_INDEXES}")
    return PipSettings(
        indexes=tuple(dict.fromkeys(index.rstrip("/") for index in indexes)),
        trusted_hosts=frozenset(options.get("trusted-host", "").split()),
        cert=options.get("cert") or environment.get("REQUESTS_CA_BUNDLE") or None,
        proxy=options.get("proxy") or None,
    )


def _files(environment: Mapping[str, str]) -> Iterator[Path]:
    """Yield the paths of pip's configuration files, in the order in which pip reads them."""
    stated = environment.get("PIP_CONFIG_FILE", "")
    if stated == os.devnull:
        return
    for folder in (environment.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep):
        yield Path(folder, "pip", "pip.conf")
    yield Path("/etc/pip.conf")
    home = environment.get("HOME")
    # pip skips the user's files if PIP_CONFIG_FILE exists.
    if home and not (stated and Path(stated).exists()):
        yield Path(home, ".pip", "pip.conf")
        yield Path(environment.get("XDG_CONFIG_HOME") or Path(home, ".config"), "pip", "pip.conf")
    yield Path(environment.get("VIRTUAL_ENV") or sys.prefix, "pip.conf")
    if stated:
        yield Path(stated)


def _read(path: Path) -> dict[str, str]:
    parser = configparser.RawConfigParser()
    try:
        if not path.is_file():
            return {}
        if path.stat().st_size > _MOST_BYTES:
            raise ConfigError(f"{path}: expected at most {_MOST_BYTES:,} bytes")
        parser.read_string(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        # Not the error's text, which quotes the line.
        raise ConfigError(
            f"{path}: cannot be read as pip's configuration: {type(error).__name__}"
        ) from None
    return {
        name.replace("_", "-"): value
        for section in _SECTIONS
        if parser.has_section(section)
        for name, value in parser.items(section)
    }
