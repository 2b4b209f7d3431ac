"""Artefacts derived from a model folder, cached on disk under the model's digest.

A cache folder has one folder for each model digest, and a further one if the model is also used
with stretched pictures. In it, `NAME.json` lists the files of the
artefact NAME with their digests, the recipe that made them, and facts measured on the way. A writer
renames the files into place first and NAME.json last, so that a reader sees a complete artefact or
none, and a new artefact replaces an old one atomically. All of it can be deleted and made again.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elastic_yolo.detector.errors import ArtefactDamaged
from elastic_yolo.digest import digest_of_bytes, digest_of_file
from elastic_yolo.durable import UNFINISHED, write_atomic
from elastic_yolo.write_errors import describe_write_error

Facts = dict[str, Any]
"""JSON-serialisable values."""

_LOG = logging.getLogger(__name__)
_MOST_MANIFEST_BYTES = 1_000_000
MEASURING_LOCK = "measuring.lock"
"""In a model's folder: locked (flock) by the process that measures precisions into it."""
# The second one is of earlier versions.
_UNFINISHED = (UNFINISHED, ".openvino-")
# No file takes this long to write: an older unfinished file belongs to a killed process.
_ABANDONED_S = 3600


@dataclass(frozen=True)
class Artefact:
    """A cached artefact: `files` by role, such as model.xml, and the facts stored with them."""

    name: str
    recipe: str
    """What the artefact was made from and how; an artefact of another recipe is not used."""
    files: Mapping[str, Path]
    facts: Facts
    digest: str
    """One digest over all files."""


class ModelCache:
    """The cached artefacts of one model."""

    def __init__(self, cache: Path, key: str) -> None:
        """Use the folder for the model with this `Model.cache_key` in `cache`; creates nothing."""
        self.folder = cache / key.removeprefix("sha256:")

    def load(self, name: str, recipe: str | None = None) -> Artefact | None:
        """Return an artefact, or None if it is missing or was made by another recipe.

        Raises ArtefactDamaged if a file is unreadable or does not match its digest.
        """
        try:
            return self._load(name, recipe)
        except ArtefactDamaged:
            # A writer may have replaced it after NAME.json was read and before its files were.
            return self._load(name, recipe)

    def _load(self, name: str, recipe: str | None) -> Artefact | None:
        path = self.folder / f"{name}.json"
        try:
            with path.open("rb") as file:
                manifest = json.loads(file.read(_MOST_MANIFEST_BYTES))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, RecursionError) as error:
            raise ArtefactDamaged(f"{path} cannot be read: {error}") from error
        try:
            if recipe is not None and manifest["made_from"] != recipe:
                return None
            files = {role: self.folder / entry["file"] for role, entry in manifest["files"].items()}
            digests = {role: entry["digest"] for role, entry in manifest["files"].items()}
            changed = [role for role in files if digest_of_file(files[role]) != digests[role]]
            artefact = Artefact(
                name, manifest["made_from"], files, dict(manifest["facts"]), _joint_digest(digests)
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArtefactDamaged(f"{path} cannot be used: {error}") from error
        if changed:
            raise ArtefactDamaged(f"{path}: wrong digest of {', '.join(changed)}")
        return artefact

    def create_folder(self) -> None:
        """Create the folder and delete the unfinished files of killed writers; raises OSError."""
        for folder in (self.folder.parent, self.folder):
            if not folder.is_dir():
                folder.mkdir(parents=True, exist_ok=True)
                # mkdir applies the umask, but other users' services read the same cache.
                folder.chmod(0o755)
        remove_abandoned(self.folder)

    def publish(
        self, name: str, recipe: str, files: Mapping[str, bytes], facts: Facts | None = None
    ) -> Artefact:
        """Write an artefact, replacing an older one of the same name; raises OSError."""
        self.create_folder()
        digests = {role: digest_of_bytes(content) for role, content in files.items()}
        file_names = {
            role: f"{name}-{digests[role].removeprefix('sha256:')[:16]}{Path(role).suffix}"
            for role in files
        }
        for role, content in files.items():
            write_atomic(self.folder / file_names[role], content)
        entries = {role: {"file": file_names[role], "digest": digests[role]} for role in files}
        facts = facts or {}
        # The key on disk is older than the field's name.
        manifest = {"made_from": recipe, "files": entries, "facts": facts}
        write_atomic(self.folder / f"{name}.json", json.dumps(manifest, indent=1).encode())
        self._delete_other_files(name, set(file_names.values()))
        paths = {role: self.folder / file_name for role, file_name in file_names.items()}
        return Artefact(name, recipe, paths, facts, _joint_digest(digests))

    def delete(self, names: str) -> None:
        """Delete the artefacts whose names match a glob pattern."""
        for path in self.folder.glob(f"{names}.json"):
            path.unlink(missing_ok=True)
            self._delete_other_files(path.stem, set())

    def try_publish(
        self, name: str, recipe: str, make: Callable[[], Mapping[str, bytes]]
    ) -> Artefact | None:
        """Publish the files that `make` returns, or log a warning and return None if that fails.

        For artefacts that every start can make again: a full disk must not stop a service.
        """
        try:
            self.create_folder()
            return self.publish(name, recipe, make())
        except OSError as error:
            _LOG.warning("cannot cache %s: %s", name, describe_write_error(self.folder, error))
        except RuntimeError as error:
            _LOG.warning("cannot cache %s in %s: %s", name, self.folder, error)
        return None

    def try_load(self, name: str, recipe: str) -> Artefact | None:
        """Return an artefact like `load`; logs a damaged one and returns None for it."""
        try:
            return self.load(name, recipe)
        except ArtefactDamaged as error:
            _LOG.warning("cached artefact is damaged, making it again: %s", error)
            return None

    def _delete_other_files(self, name: str, current: set[str]) -> None:
        # A process that has an old file open or mapped keeps it until it closes it.
        for path in self.folder.glob(f"{name}-{'[0-9a-f]' * 16}.*"):
            if path.name not in current:
                path.unlink(missing_ok=True)


def remove_abandoned(folder: Path) -> int:
    """Delete unfinished files and folders of killed processes; returns their size in bytes.

    They are those that nothing has changed for an hour.
    """
    removed = 0
    for path in [one for prefix in _UNFINISHED for one in folder.glob(f"{prefix}*")]:
        with suppress(OSError):
            files = [path, *path.rglob("*")]
            changed = max(one.lstat().st_mtime for one in files)
            size = sum(one.lstat().st_size for one in files if one.is_file())
            if time.time() - changed > _ABANDONED_S:
                remove_tree(path)
                removed += size
    return removed


def remove_tree(path: Path) -> None:
    """Delete a file, or a folder with all that is in it; raises OSError."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _joint_digest(digests: Mapping[str, str]) -> str:
    return digest_of_bytes("\n".join(digests[role] for role in sorted(digests)).encode())
