"""Pull a model of the zoo into the user's cache: a folder under its final name is complete.

~/.cache/elastic-yolo/models/NAME/                 the model folder
~/.cache/elastic-yolo/models/.NAME.lock            locked by the process that pulls NAME
~/.cache/elastic-yolo/models/.NAME.first           digest of the first pull, if none is stated
~/.cache/elastic-yolo/models/.download/            see `fetch`
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from elastic_yolo.detector.artefacts import remove_abandoned
from elastic_yolo.detector.errors import ModelError
from elastic_yolo.detector.manifest import read_manifest
from elastic_yolo.detector.model import read_model
from elastic_yolo.durable import UNFINISHED, make_folder, publish_folder, write_durable
from elastic_yolo.progress import print_status
from elastic_yolo.provision.errors import WrongContent
from elastic_yolo.provision.progress import Progress
from elastic_yolo.provision.zoo.folder import MANIFEST, folder_content
from elastic_yolo.provision.zoo.table import ZooModel, find_zoo_model

Say = Callable[[str], None]
"""Receives one line of text."""


def models_folder() -> Path:
    """Return the folder of all pulled models: in XDG_CACHE_HOME, by default ~/.cache."""
    stated = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # https://specifications.freedesktop.org/basedir/latest/: a relative path is to be ignored.
    base = stated if stated.is_absolute() else Path.home() / ".cache"
    return base / "elastic-yolo" / "models"


def cached_folder(model: ZooModel) -> Path | None:
    """Return the folder of a model if it is in the cache and complete, else None.

    Does not read the weights: `read_model` compares all files with the digests in model.yaml.
    """
    folder = models_folder() / model.name
    try:
        current = read_manifest(folder).version == model.version
        complete = all((folder / name).is_file() for name in (*model.shipped, MANIFEST))
        whole = all((folder / file.name).stat().st_size == file.size for file in model.downloaded)
    except (ModelError, OSError):
        return None
    return folder if current and complete and whole else None


def pull(
    name: str, progress: Progress, say: Say = print_status, *, check_digests: bool = False
) -> Path:
    """Return the folder of a model in the cache, after downloading it if it is not there.

    A complete folder needs no network. With `check_digests` its files are read, and a damaged
    folder is replaced. `progress` receives the bytes of the download, `say` a line for each source.
    Raises UnknownZooModel, ProvisionError, StoreFull, or OSError.
    """
    return pull_model(find_zoo_model(name), progress, say, check_digests=check_digests)


def pull_model(
    model: ZooModel, progress: Progress, say: Say, *, check_digests: bool = False
) -> Path:
    """Pull a model as `pull` does."""

    def usable() -> Path | None:
        folder = cached_folder(model)
        return None if folder and check_digests and _is_damaged(folder, say) else folder

    if (folder := usable()) is not None:
        return folder
    root = models_folder()
    make_folder(root)
    with _locked(root / f".{model.name}.lock", model.name, say):
        # Another process may have pulled it while this one waited.
        return usable() or _pull(model, root, progress, say)


def _is_damaged(folder: Path, say: Say) -> bool:
    try:
        read_model(folder)
    except ModelError as error:
        say(f"{error}: pulling {folder.name} again")
        return True
    return False


def _pull(model: ZooModel, root: Path, progress: Progress, say: Say) -> Path:
    # Imported here because a model in the cache needs no HTTP client.
    from elastic_yolo.provision.zoo.fetch import fetch_files  # noqa: PLC0415

    # Of killed pulls.
    remove_abandoned(root)
    fetched = fetch_files(model, root, progress, say)
    folder = Path(tempfile.mkdtemp(dir=root, prefix=UNFINISHED))
    try:
        for name, file in fetched.items():
            file.path.rename(folder / name)
        for name, content in folder_content(model, fetched[model.weights.name].digest).items():
            write_durable(folder / name, content)
        _check(model, folder)
        _replace(folder, root / model.name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return root / model.name


def _check(model: ZooModel, folder: Path) -> None:
    """Check that the folder is a model; raises WrongContent."""
    try:
        read_model(folder)
    except ModelError as error:
        reason = str(error).replace(f"{folder}/", "")
        raise WrongContent(f"{model.name}: {reason}") from error


def _replace(folder: Path, target: Path) -> None:
    """Rename `folder` to `target`, in place of a folder that is incomplete or out of date."""
    if not target.exists():
        publish_folder(folder, target)
        return
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=UNFINISHED) as old:
        target.rename(Path(old) / target.name)
        publish_folder(folder, target)


@contextmanager
def _locked(path: Path, name: str, say: Say) -> Iterator[None]:
    """Hold the lock of a model; the kernel releases it when the process ends for any reason."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{name}: another process is pulling it: waiting until it has finished")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
