"""Provision models one after the other, and say what was done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from elastic_yolo.detector.engines.choose import EngineOptions
from elastic_yolo.detector.profile import FILE as REFERENCE
from elastic_yolo.digest import digest_of_bytes
from elastic_yolo.durable import write_file
from elastic_yolo.provision.check import check_model
from elastic_yolo.provision.config import WantedModel
from elastic_yolo.provision.download import Download, Traffic, free_bytes
from elastic_yolo.provision.errors import ProvisionError, WrongContent
from elastic_yolo.provision.pins import Pins
from elastic_yolo.provision.prepare import Preparation
from elastic_yolo.provision.progress import ProgressReporter
from elastic_yolo.provision.reference import record_reference
from elastic_yolo.store.collect import used_bytes
from elastic_yolo.store.errors import StoreError, StoreFull
from elastic_yolo.store.layout import Layout
from elastic_yolo.store.reader import list_versions
from elastic_yolo.store.records import FileRecord, VersionRecord
from elastic_yolo.store.writer import Writer

Outcome = Literal["present", "published", "switched", "would publish", "failed"]


@dataclass(frozen=True)
class Report:
    """What became of one model."""

    name: str
    version: str
    outcome: Outcome
    id: str | None
    """Of the version in the store."""
    requests: int
    bytes: int
    """Of the model, that were transferred."""
    files: int
    """That were not in the store before."""
    prepared: tuple[str, ...] = ()
    """What was made for the services' cache."""
    error: str | None = None
    retryable: bool = False


@dataclass(frozen=True)
class Job:
    """How to provision. `quota_bytes` is the most that the store may hold, 0 for no limit.

    With `cache`, what services would make of a model is in there before they see it.
    """

    layout: Layout
    tell: ProgressReporter
    threads: int
    quota_bytes: int = 0
    cache: Path | None = None
    dry_run: bool = False
    sleep: Callable[[float], None] = time.sleep

    def run(self, models: Sequence[WantedModel]) -> Iterator[Report]:
        """Yield a report for each model; one that fails keeps the others from nothing."""
        for model in models:
            yield self._provision(model)

    def _provision(self, model: WantedModel) -> Report:
        traffic = Traffic()
        download = Download(self.layout, self.tell.progress, self._room, traffic, self.sleep)
        pins = Pins(model, download.insist)
        report = partial(self._report, model.name, model.version or "?", traffic)
        try:
            version = pins.version()
            report = partial(self._report, model.name, version, traffic)
            there = self._find(model, version)
            if self.dry_run:
                return report("present" if there else "would publish", there)
            if there is not None:
                prepared = self._prepare(model, there)
                switched = self._point(model, there)
                return report("switched" if switched else "present", there, prepared=prepared)
            record, new = self._publish(pins, download)
            prepared = self._prepare(model, record)
            self._point(model, record)
        except (ProvisionError, StoreError, OSError) as error:
            retryable = isinstance(error, StoreFull | OSError) or getattr(error, "retryable", False)
            return report("failed", None, error=str(error), retryable=retryable)
        return report("published", record, files=new, prepared=prepared)

    def _find(self, model: WantedModel, version: str) -> VersionRecord | None:
        """Return the version if the store has it; raises WrongContent if it has another content.

        What was recorded when it came first holds from then on, also for files without a digest
        in models.yaml.
        """
        for record in reversed(list_versions(self.layout, model.name)):
            if record.version != version:
                continue
            for name, file in model.files.items():
                recorded = record.files.get(name)
                if recorded is None or file.digest not in (None, recorded.digest):
                    raise WrongContent(
                        f"{model.name}: version {version} is in the store already, with "
                        f"another {name}: give what is new another version"
                    )
            return record
        return None

    def _publish(self, pins: Pins, download: Download) -> tuple[VersionRecord, int]:
        writer = Writer(self.layout)
        files: dict[str, FileRecord] = {}
        new = 0
        for name in pins.model.files:
            place = pins.place(name)
            known = None if place.digest is None else writer.find_blob(place.digest)
            if known is None:
                path, digest = download.fetch(place.address, name, place.digest)
                known = writer.keep_blob(path, digest)
                new += 1
            files[name] = known
        if pins.model.pictures_folder is not None and REFERENCE not in files:
            files[REFERENCE] = self._record(writer, files, pins.model.pictures_folder)
        check = partial(check_model, threads=self.threads)
        record = writer.publish(pins.model.name, pins.version(), files, pins.source(), check)
        return record, new

    def _record(
        self, writer: Writer, files: Mapping[str, FileRecord], pictures: Path
    ) -> FileRecord:
        """Put what the model finds in typical pictures into the store."""
        options = EngineOptions(threads=self.threads)
        with writer.assembled(files) as folder:
            content = record_reference(folder, pictures, options, self.tell)
        digest = digest_of_bytes(content)
        part = self.layout.incoming / REFERENCE
        write_file(part, content)
        return writer.keep_blob(part, digest)

    def _prepare(self, model: WantedModel, record: VersionRecord) -> tuple[str, ...]:
        if self.cache is None:
            return ()
        folder = self.layout.version(model.name, record.id)
        preparation = Preparation(self.cache, self.threads, self.tell)
        return tuple(preparation.prepare(folder, model.pictures_folder))

    def _point(self, model: WantedModel, record: VersionRecord) -> bool:
        writer, switched = Writer(self.layout), False
        for channel in model.channels:
            switched |= writer.point(model.name, channel, record.id)
        return switched

    def _room(self, size: int) -> None:
        if size > free_bytes(self.layout):
            raise StoreFull(f"{self.layout.root}: {size:,} bytes are needed, fewer are free")
        if self.quota_bytes and used_bytes(self.layout) + size > self.quota_bytes:
            raise StoreFull(
                f"{self.layout.root}: {size:,} more bytes would exceed {self.quota_bytes:,}"
            )

    def _report(
        self,
        name: str,
        version: str,
        traffic: Traffic,
        outcome: Outcome,
        record: VersionRecord | None,
        *,
        files: int = 0,
        prepared: tuple[str, ...] = (),
        error: str | None = None,
        retryable: bool = False,
    ) -> Report:
        return Report(
            name=name,
            version=version,
            outcome=outcome,
            id=None if record is None else record.id,
            requests=traffic.requests,
            bytes=traffic.bytes,
            files=files,
            prepared=prepared,
            error=error,
            retryable=retryable,
        )
