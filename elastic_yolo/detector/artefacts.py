"""Derived models: made once from a model folder, found again by its digest.

A cache folder has one folder for each model digest. In it, `NAME.json` says which files make up the
artefact NAME, with their digests, what they were made from, and facts measured on the way. The
files come first and NAME.json last, each by renaming, so that a reader sees all of an artefact or
nothing of it, and a newer one replaces it in one step. Everything here can be made anew.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elastic_yolo.detector.errors import ArtefactDamaged
from elastic_yolo.digest import digest_of_bytes, digest_of_file
from elastic_yolo.durable import UNFINISHED, write_whole

Facts = dict[str, Any]
"""What JSON can hold."""

_LOG = logging.getLogger(__name__)
_MOST_MANIFEST_BYTES = 1_000_000
# Longer than any file takes to be written.
_ABANDONED_S = 3600


@dataclass(frozen=True)
class Artefact:
    """What was found: `files` by their role, such as model.xml, and the facts stated with them."""

    name: str
    made_from: str
    files: Mapping[str, Path]
    facts: Facts
    digest: str
    """Of all files together."""


class Shelf:
    """The artefacts of one model in a cache folder."""

    def __init__(self, cache: Path, digest: str) -> None:
        """Name the place of the model with `digest` (sha256:...); nothing is created yet."""
        self.folder = cache / digest.removeprefix("sha256:")

    def find(self, name: str, made_from: str | None = None) -> Artefact | None:
        """Return an artefact, or None if it is not there or was made from something else.

        Raises ArtefactDamaged if it is there but is not what was written.
        """
        try:
            return self._read(name, made_from)
        except ArtefactDamaged:
            # It may have been replaced between the reading of NAME.json and that of its files.
            return self._read(name, made_from)

    def _read(self, name: str, made_from: str | None) -> Artefact | None:
        path = self.folder / f"{name}.json"
        try:
            with path.open("rb") as file:
                stated = json.loads(file.read(_MOST_MANIFEST_BYTES))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, RecursionError) as error:
            raise ArtefactDamaged(f"{path} cannot be read: {error}") from error
        try:
            if made_from is not None and stated["made_from"] != made_from:
                return None
            files = {role: self.folder / entry["file"] for role, entry in stated["files"].items()}
            digests = {role: entry["digest"] for role, entry in stated["files"].items()}
            changed = [role for role in files if digest_of_file(files[role]) != digests[role]]
            artefact = Artefact(
                name, stated["made_from"], files, dict(stated["facts"]), _joint_digest(digests)
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArtefactDamaged(f"{path} cannot be used: {error}") from error
        if changed:
            raise ArtefactDamaged(f"{path}: {', '.join(changed)} is not what was written")
        return artefact

    def prepare(self) -> None:
        """Create the folder, and clear what killed processes left in it; raises OSError."""
        for folder in (self.folder.parent, self.folder):
            if not folder.is_dir():
                folder.mkdir(parents=True, exist_ok=True)
                # Others start from the same cache, whatever the umask here is.
                folder.chmod(0o755)
        for path in self.folder.glob(f"{UNFINISHED}*"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _ABANDONED_S:
                    path.unlink()

    def publish(
        self, name: str, made_from: str, files: Mapping[str, bytes], facts: Facts | None = None
    ) -> Artefact:
        """Write an artefact, in place of an older one of its name; raises OSError."""
        self.prepare()
        digests = {role: digest_of_bytes(content) for role, content in files.items()}
        places = {
            role: f"{name}-{digests[role].removeprefix('sha256:')[:16]}{Path(role).suffix}"
            for role in files
        }
        for role, content in files.items():
            write_whole(self.folder / places[role], content)
        entries = {role: {"file": places[role], "digest": digests[role]} for role in files}
        facts = facts or {}
        stated = {"made_from": made_from, "files": entries, "facts": facts}
        write_whole(self.folder / f"{name}.json", json.dumps(stated, indent=1).encode())
        self._forget_others(name, set(places.values()))
        paths = {role: self.folder / place for role, place in places.items()}
        return Artefact(name, made_from, paths, facts, _joint_digest(digests))

    def remove(self, names: str) -> None:
        """Forget the artefacts whose names fit a pattern, if there are any."""
        for path in self.folder.glob(f"{names}.json"):
            path.unlink(missing_ok=True)
            self._forget_others(path.stem, set())

    def keep(
        self, name: str, made_from: str, make: Callable[[], Mapping[str, bytes]]
    ) -> Artefact | None:
        """Publish what can be made anew at every start: a cache that is full is no failure."""
        try:
            self.prepare()
            return self.publish(name, made_from, make())
        except (OSError, RuntimeError) as error:
            _LOG.warning("%s is not kept in %s: %s", name, self.folder, error)
            return None

    def recall(self, name: str, made_from: str) -> Artefact | None:
        """Find what can be made anew at every start: one that is damaged counts as absent."""
        try:
            return self.find(name, made_from)
        except ArtefactDamaged as error:
            _LOG.warning("made anew: %s", error)
            return None

    def _forget_others(self, name: str, current: set[str]) -> None:
        # Who has an old file open or mapped keeps it until he closes it.
        for path in self.folder.glob(f"{name}-{'[0-9a-f]' * 16}.*"):
            if path.name not in current:
                path.unlink(missing_ok=True)


def _joint_digest(digests: Mapping[str, str]) -> str:
    return digest_of_bytes("\n".join(digests[role] for role in sorted(digests)).encode())
