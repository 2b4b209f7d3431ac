"""Run the provisioner in this process, and read the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from elastic_yolo.provision.config import read_models_config
from elastic_yolo.provision.run import Job, Report
from elastic_yolo.store.layout import Layout
from elastic_yolo.store.reader import resolve
from elastic_yolo.store.reference import Reference
from tests.support.models import QUIET, write_config


def nowhere(*_: object) -> None:
    """Replace time.sleep."""


def provision(store: Path, *models: dict[str, Any], **options: Any) -> list[Report]:
    """Provision models once, without pauses between attempts."""
    config = write_config(store.parent / "models.yaml", *models)
    store.mkdir(exist_ok=True)
    options = {"reporter": QUIET, "sleep": nowhere, **options}
    job = Job(Layout(store), threads=1, **options)
    return list(job.provision(read_models_config(config).models))


def stable(store: Path) -> str:
    return resolve(Reference(store, "tiny", "stable")).record.version
