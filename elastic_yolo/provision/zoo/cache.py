"""Pull a model of the zoo into the user's cache: a folder under its final name is complete.

~/.cache/elastic-yolo/models/NAME/           the model folder
~/.cache/elastic-yolo/models/.NAME.lock      locked by the process that pulls NAME
~/.cache/elastic-yolo/models/.incoming/      partial downloads
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from elastic_yolo.detector.errors import ModelError
from elastic_yolo.detector.manifest import Manifest, read_manifest
from elastic_yolo.digest import digest_of_bytes
from elastic_yolo.durable import UNFINISHED, make_folder, publish_folder, write_durable
from elastic_yolo.progress import print_status
from elastic_yolo.provision.errors import SourceUnavailable
from elastic_yolo.provision.progress import Progress
from elastic_yolo.provision.zoo.table import ZooModel, find_zoo_model

Say = Callable[[str], None]
"""Receives one line of text."""


def models_folder() -> Path:
    """Return the folder of all pulled models: in XDG_CACHE_HOME, by default ~/.cache."""
    stated = os.environ.get("XDG_CACHE_HOME", "")
    # The specification of the variable: a relative path is to be ignored.
    base = Path(stated) if os.path.isabs(stated) else Path.home() / ".cache"  # noqa: PTH117
    return base / "elastic-yolo" / "models"


def cached_folder(model: ZooModel) -> Path | None:
    """Return the folder of a model if it has been pulled and is complete, else None."""
    folder = models_folder() / model.name
    try:
        manifest = read_manifest(folder)
        complete = (
            manifest.version == model.version
            and (folder / model.weights.name).stat().st_size == model.weights.size
            and all((folder / name).is_file() for name in model.shipped)
        )
    except (ModelError, OSError):
        return None
    return folder if complete else None


def pull(name: str, progress: Progress, say: Say = print_status) -> Path:
    """Return the folder of a model in the cache, after downloading what is missing.

    A complete folder needs no network. Raises UnknownZooModel, ProvisionError, or OSError.
    """
    model = find_zoo_model(name)
    if (folder := cached_folder(model)) is not None:
        return folder
    root = models_folder()
    make_folder(root)
    with _locked(root / f".{name}.lock", name, say):
        # Another process may have pulled it while this one waited.
        return cached_folder(model) or _pull(model, root, progress, say)


def _pull(model: ZooModel, root: Path, progress: Progress, say: Say) -> Path:
    part, digest = _download(model, root, progress, say)
    folder = Path(tempfile.mkdtemp(dir=root, prefix=UNFINISHED))
    try:
        digests = {model.weights.name: digest}
        for name, path in model.shipped.items():
            content = path.read_bytes()
            write_durable(folder / name, content)
            digests[name] = digest_of_bytes(content)
        write_durable(folder / "model.yaml", _manifest(model, digests).encode())
        part.rename(folder / model.weights.name)
        _replace(folder, root / model.name)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return root / model.name


def _download(model: ZooModel, root: Path, progress: Progress, say: Say) -> tuple[Path, str]:
    # Imported here because a model in the cache needs no HTTP client.
    from elastic_yolo.provision.download import Download  # noqa: PLC0415
    from elastic_yolo.provision.errors import ProvisionError  # noqa: PLC0415
    from elastic_yolo.provision.sources import redacted  # noqa: PLC0415
    from elastic_yolo.store.layout import Layout  # noqa: PLC0415

    layout = Layout(root / ".download")
    download = Download(layout, progress, lambda _: None, attempts=2)
    for source in model.weights.sources:
        try:
            say(f"{model.name}: {redacted(source)}")
            return download.fetch(source, model.weights.name, model.weights.digest)
        except ProvisionError as error:
            say(str(error))
    raise SourceUnavailable(f"{model.name}: none of its sources can be reached")


def _replace(folder: Path, target: Path) -> None:
    """Rename `folder` to `target`, in place of a folder that is incomplete or out of date."""
    if not target.exists():
        publish_folder(folder, target)
        return
    old = Path(tempfile.mkdtemp(dir=target.parent, prefix=UNFINISHED))
    target.rename(old / target.name)
    publish_folder(folder, target)
    shutil.rmtree(old, ignore_errors=True)


def _manifest(model: ZooModel, digests: dict[str, str]) -> str:
    content: dict[str, Any] = {"name": model.name, "version": model.version, "files": digests}
    if model.resize is not None and "resize" in Manifest.model_fields:
        content["resize"] = model.resize
    if model.golden is not None:
        content["golden"] = model.golden.model_dump(mode="json")
    return yaml.safe_dump(content, sort_keys=False)


@contextmanager
def _locked(path: Path, name: str, say: Say) -> Iterator[None]:
    """Hold the lock of a model; the kernel releases it when the process ends for any reason."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{name}: another process pulls it: waiting for that")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
