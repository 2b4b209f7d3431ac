"""The provisioner in this process, and what a reader of its store gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from services.provision.config import read_wanted
from services.provision.run import Job, Report
from store.layout import Layout
from store.reader import resolve
from store.reference import Reference
from tests.provision.models import QUIET, write_config


def nowhere(*_: object) -> None:
    """Wait for nothing."""


def provision(store: Path, *models: dict[str, Any], **options: Any) -> list[Report]:
    """Run once, without waiting between attempts."""
    config = write_config(store.parent / "models.yaml", *models)
    store.mkdir(exist_ok=True)
    options = {"tell": QUIET, "sleep": nowhere, **options}
    job = Job(Layout(store), threads=1, **options)
    return list(job.run(read_wanted(config).models))


def stable(store: Path) -> str:
    return resolve(Reference(store, "tiny", "stable")).record.version
