"""Provision models one after the other, with a report for each."""

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
from elastic_yolo.durable import write_durable
from elastic_yolo.provision.channels import switch_channels
from elastic_yolo.provision.check import check_model
from elastic_yolo.provision.config import ModelConfig
from elastic_yolo.provision.download import Download, Traffic, space_check
from elastic_yolo.provision.errors import ProvisionError, WrongContent
from elastic_yolo.provision.fallback import fetch_first
from elastic_yolo.provision.pins import PinnedSources
from elastic_yolo.provision.prepare import Preparation
from elastic_yolo.provision.progress import ProgressReporter
from elastic_yolo.provision.reference import record_reference
from elastic_yolo.store.collect import used_bytes
from elastic_yolo.store.errors import StoreError, StoreFull
from elastic_yolo.store.faults import is_temporary
from elastic_yolo.store.layout import Layout
from elastic_yolo.store.reader import list_versions
from elastic_yolo.store.records import FileRecord, VersionRecord
from elastic_yolo.store.writer import Writer, damaged_blobs, damaged_copies

Outcome = Literal[
    "present", "published", "repaired", "switched", "would publish", "would repair", "failed"
]


@dataclass(frozen=True)
class Report:
    """The outcome of provisioning one model."""

    name: str
    version: str
    outcome: Outcome
    id: str | None
    """Id of the version in the store."""
    requests: int
    bytes: int
    """Bytes transferred from the sources."""
    files: int
    """Number of files that were new to the store."""
    prepared: tuple[str, ...] = ()
    """Names of the artefacts made for the services' cache."""
    pins: tuple[str, ...] = ()
    """A line for each channel that a rollback has pinned, or had pinned until this run."""
    error: str | None = None
    retryable: bool = False
    passed_over: tuple[str, ...] = ()
    """A line for each source that did not deliver while another was left."""


@dataclass(frozen=True)
class Job:
    """Provisions models into the store at `layout`.

    `quota_bytes` limits the size of the store; 0 means no limit. With `cache`, the artefacts of a
    model are made there before its channels are switched.
    """

    layout: Layout
    reporter: ProgressReporter
    threads: int
    quota_bytes: int = 0
    cache: Path | None = None
    dry_run: bool = False
    sleep: Callable[[float], None] = time.sleep

    def provision(self, models: Sequence[ModelConfig]) -> Iterator[Report]:
        """Yield a report for each model; a failed model does not stop the others."""
        for model in models:
            yield self._provision_model(model)

    def _provision_model(self, model: ModelConfig) -> Report:
        traffic = Traffic()
        download = Download(
            self.layout, self.reporter.progress, self._require_space, traffic, self.sleep
        )
        sources = PinnedSources(model, download.retry)
        report = partial(self._report, model.name, model.version or "?", traffic)
        try:
            version = sources.version()
            report = partial(self._report, model.name, version, traffic)
            present = self._published_version(model, version)
            damaged = [] if present is None else damaged_blobs(self.layout, present)
            is_damaged = bool(damaged or (present and damaged_copies(self.layout, present)))
            if self.dry_run:
                planned: Outcome = "would repair" if is_damaged else "present"
                return report("would publish" if present is None else planned, present)
            outcome: Outcome = "present"
            if present is None:
                record, new = self._publish(sources, download)
                outcome = "published"
            else:
                record, new = present, len(damaged)
                if is_damaged:
                    self._repair(model, record, damaged, download)
                    outcome = "repaired"
            prepared = self._prepare(model, record)
            switched = switch_channels(Writer(self.layout), record, model.channels)
            if switched.any and outcome == "present":
                outcome = "switched"
        except (ProvisionError, StoreError, OSError) as error:
            return report("failed", None, error=str(error), retryable=is_temporary(error))
        return report(outcome, record, files=new, prepared=prepared, pins=switched.pins)

    def _published_version(self, model: ModelConfig, version: str) -> VersionRecord | None:
        """Return the version if the store has it; raises WrongContent if its content differs.

        The digests recorded when the version was published remain binding, also for files without
        a digest in models.yaml.
        """
        for record in reversed(list_versions(self.layout, model.name)):
            if record.version != version:
                continue
            for name, file in model.files.items():
                recorded = record.files.get(name)
                if recorded is None or file.digest not in (None, recorded.digest):
                    raise WrongContent(
                        f"{model.name}: the store already has version {version} with "
                        f"another {name}: give the new content another version"
                    )
            return record
        return None

    def _repair(
        self, model: ModelConfig, record: VersionRecord, damaged: list[str], download: Download
    ) -> None:
        """Replace the damaged files, by copies or from their sources, as the record states them."""
        digests = {name: file.digest for name, file in record.files.items()}
        sources = PinnedSources(model.with_digests(digests), download.retry)
        writer, folder = Writer(self.layout), self.layout.version(record.name, record.id)
        for name in damaged:
            if writer.restore_blob(digests[name], folder / name):
                continue
            if name not in model.files:
                raise WrongContent(
                    f"{model.name}: {name} of version {record.version} is damaged in the store, "
                    "and models.yaml has no source of it: give the model another version"
                )
            fetch = partial(_fetch_blob, writer, sources, download, name)
            report = partial(self._pass_over, download.traffic)
            fetch_first(name, sources.model.addresses(name), fetch, report)
        if damaged_copies(self.layout, record):
            writer.write(record, partial(check_model, threads=self.threads))
        download.forget_finished()

    def _publish(self, sources: PinnedSources, download: Download) -> tuple[VersionRecord, int]:
        writer = Writer(self.layout)
        files: dict[str, FileRecord] = {}
        new = 0
        for name in sources.model.files:
            fetch = partial(_fetch_blob, writer, sources, download, name)
            addresses = sources.model.addresses(name)
            report = partial(self._pass_over, download.traffic)
            files[name], added = fetch_first(name, addresses, fetch, report)
            new += added
        if sources.model.pictures_folder is not None and REFERENCE not in files:
            files[REFERENCE] = self._record(writer, files, sources.model.pictures_folder)
        check = partial(check_model, threads=self.threads)
        record = writer.publish(
            sources.model.name, sources.version(), files, sources.source(), check
        )
        # Its record has the digests now.
        download.forget_finished()
        return record, new

    def _pass_over(self, traffic: Traffic, line: str) -> None:
        traffic.passed_over.append(line)
        self.reporter.passed_over(line)

    def _record(
        self, writer: Writer, files: Mapping[str, FileRecord], pictures: Path
    ) -> FileRecord:
        """Record the reference profile from `pictures` and add it to the store."""
        options = EngineOptions(threads=self.threads)
        with writer.temporary_folder(files) as folder:
            content = record_reference(folder, pictures, options, self.reporter)
        digest = digest_of_bytes(content)
        part = self.layout.incoming / REFERENCE
        write_durable(part, content)
        return writer.add_blob(part, digest)

    def _prepare(self, model: ModelConfig, record: VersionRecord) -> tuple[str, ...]:
        if self.cache is None:
            return ()
        folder = self.layout.version(model.name, record.id)
        preparation = Preparation(self.cache, self.layout, self.threads, self.reporter)
        return tuple(preparation.prepare(folder, model.pictures_folder))

    def _require_space(self, size: int) -> None:
        space_check(self.layout)(size)
        if self.quota_bytes and used_bytes(self.layout) + size > self.quota_bytes:
            raise StoreFull(
                f"{self.layout.root}: {size:,} more bytes would exceed the quota of "
                f"{self.quota_bytes:,} bytes"
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
        pins: tuple[str, ...] = (),
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
            pins=pins,
            error=error,
            retryable=retryable,
            passed_over=tuple(traffic.passed_over),
        )


def _fetch_blob(
    writer: Writer,
    sources: PinnedSources,
    download: Download,
    name: str,
    address: str,
    fallback: bool,  # noqa: FBT001  # see fallback.Fetch
) -> tuple[FileRecord, bool]:
    """Return a file's record in the store, and whether it was fetched from `address`."""
    source = sources.file_source(name, address, fallback=fallback)
    known = None if source.digest is None else writer.find_blob(source.digest)
    if known is not None:
        return known, False
    path, digest = download.fetch(source.address, name, source.digest, fallback=fallback)
    return writer.add_blob(path, digest), True
