"""`elastic-yolo provision`: fill and maintain a model store from models.yaml."""

from __future__ import annotations

import argparse
import json
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from elastic_yolo.cli.errors import TRY_AGAIN, describe_error
from elastic_yolo.cli.options import add_threads_option, count
from elastic_yolo.detector.errors import ModelError
from elastic_yolo.progress import ProgressLine, print_skipped, print_status
from elastic_yolo.provision.cache import CacheCollected, collect_cache, model_digests
from elastic_yolo.provision.config import read_models_config
from elastic_yolo.provision.errors import ProvisionError
from elastic_yolo.provision.progress import ProgressReporter
from elastic_yolo.provision.run import Job, Report
from elastic_yolo.store.collect import Collected, collect
from elastic_yolo.store.errors import StoreError
from elastic_yolo.store.faults import is_temporary
from elastic_yolo.store.layout import Layout
from elastic_yolo.store.lock import locked
from elastic_yolo.store.reader import list_channels, list_models, list_versions, require_store
from elastic_yolo.store.records import ChannelRecord, VersionRecord
from elastic_yolo.store.writer import Writer, damaged_copies, verify_blob

_MEGABYTE = 1_000_000
_KEEP = 3


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "provision",
        description="Download the models of models.yaml into a store, from which services read "
        "them. Files that are in the store are not downloaded again.",
        epilog=f"Exit status: 0 done, 1 failed, 2 wrong usage, {TRY_AGAIN} failed, retry later.",
    )
    parser.add_argument(
        "action", nargs="?", choices=ACTIONS, default="pull", help="what to do (default: pull)"
    )
    parser.add_argument("name", nargs="?", help="model; required by rollback and release")
    parser.add_argument(
        "--store", type=Path, required=True, metavar="DIR", help="folder of the model store"
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="path of models.yaml; required by pull"
    )
    parser.add_argument(
        "--for",
        dest="services",
        action="append",
        default=[],
        metavar="SERVICE",
        help="only models of this service; may be repeated",
    )
    parser.add_argument(
        "--channel",
        default="stable",
        help="channel to roll back or to release (default: %(default)s)",
    )
    parser.add_argument(
        "--keep",
        type=count,
        metavar="N",
        help=f"number of newest versions of each model that gc keeps (default: {_KEEP}); if set, "
        "pull runs gc afterwards",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="CACHE_DIR of the services, which pull fills in advance and gc collects as well",
    )
    parser.add_argument(
        "--quota-mb", type=count, metavar="N", help="maximum size of the store in megabytes"
    )
    parser.add_argument(
        "--wait",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="how long to wait until another writer has finished (default: 0)",
    )
    parser.add_argument("--dry-run", action="store_true", help="only print what would be done")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    add_threads_option(parser)
    parser.set_defaults(run=lambda parsed: run(parser, parsed))


def run(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> int:
    """Run the action and return the exit status."""
    if parsed.action == "pull" and parsed.config is None:
        parser.error("pull needs --config FILE")
    if parsed.action in ("rollback", "release") and parsed.name is None:
        parser.error(f"{parsed.action} needs the NAME of a model")
    layout = Layout(parsed.store.resolve())
    try:
        if parsed.action != "pull":
            require_store(layout)
        return ACTIONS[parsed.action](parsed, layout)
    except (StoreError, ProvisionError, ModelError, OSError) as error:
        print_status(f"elastic-yolo: {describe_error(error)}")
        return TRY_AGAIN if is_temporary(error) else 1


def _pull(parsed: argparse.Namespace, layout: Layout) -> int:
    models = read_models_config(parsed.config).used_by(parsed.services)
    job = Job(
        layout=layout,
        reporter=ProgressReporter(ProgressLine(), print_skipped, print_status),
        threads=parsed.threads,
        cache=None if parsed.cache is None else parsed.cache.resolve(),
        quota_bytes=(parsed.quota_mb or 0) * _MEGABYTE,
        dry_run=parsed.dry_run,
    )
    reports = []
    with nullcontext() if parsed.dry_run else locked(layout, parsed.wait):
        for report in job.provision(models):
            reports.append(report)
            if not parsed.json:
                print(_line(report), flush=True)
        removed = _collect(parsed, layout, parsed.keep) if parsed.keep else None
    if parsed.json:
        done = {"models": [asdict(report) for report in reports]}
        print(json.dumps(done | ({"removed": removed.to_json()} if removed else {}), indent=2))
    elif removed and removed.is_any:
        print(_removed(parsed, removed))
    failed = [report for report in reports if report.outcome == "failed"]
    if not failed:
        return 0
    return TRY_AGAIN if all(report.retryable for report in failed) else 1


def _line(report: Report) -> str:
    head = f"{report.name} {report.version}: {report.outcome}"
    if report.error is not None:
        again = ", a retry may succeed" if report.retryable else ""
        return f"{head}{again}: {report.error}"
    if report.outcome.startswith("would"):
        return head
    moved = f"{report.bytes:,} bytes in {report.requests} requests, {report.files} new files"
    made = f", prepared {', '.join(report.prepared)}" if report.prepared else ""
    return "\n".join([f"{head}, {moved}{made}", *report.pins])


def _list(parsed: argparse.Namespace, layout: Layout) -> int:
    found = [
        (name, list_versions(layout, name), list_channels(layout, name))
        for name in list_models(layout)
    ]
    if parsed.json:
        print(json.dumps([_as_json(*model) for model in found], indent=2))
        return 0
    for name, versions, channels in found:
        for version in versions:
            pointing = [
                _channel(channel, to) for channel, to in channels.items() if to.id == version.id
            ]
            size = sum(file.size for file in version.files.values()) / _MEGABYTE
            print(f"{name}  {version.id}  {size:.1f} MB  {' '.join(pointing)}".rstrip())
    return 0


def _channel(channel: str, to: ChannelRecord) -> str:
    if to.rolled_back_from is None:
        return channel
    return f"{channel} (pinned: rolled back from {to.rolled_back_from} at {to.since})"


def _as_json(
    name: str, versions: list[VersionRecord], channels: dict[str, ChannelRecord]
) -> dict[str, Any]:
    return {
        "name": name,
        "versions": [{"id": version.id, **version.model_dump()} for version in versions],
        "channels": {channel: to.model_dump() for channel, to in channels.items()},
    }


def _gc(parsed: argparse.Namespace, layout: Layout) -> int:
    with locked(layout, parsed.wait):
        removed = _collect(parsed, layout, parsed.keep or _KEEP)
    print(json.dumps(removed.to_json(), indent=2) if parsed.json else _removed(parsed, removed))
    return 0


@dataclass(frozen=True)
class _Removed:
    """What was removed from the store, and from the cache if there is one."""

    store: Collected
    cache: CacheCollected | None

    @property
    def is_any(self) -> bool:
        return bool(self.store.versions or (self.cache and self.cache.bytes))

    def to_json(self) -> dict[str, Any]:
        cache = {} if self.cache is None else {"cache": asdict(self.cache)}
        return asdict(self.store) | cache


def _collect(parsed: argparse.Namespace, layout: Layout, keep: int) -> _Removed:
    dry_run: bool = parsed.dry_run
    if parsed.cache is None:
        return _Removed(collect(layout, keep, dry_run=dry_run), None)
    digests = model_digests(layout)
    store = collect(layout, keep, dry_run=dry_run)
    cache = parsed.cache.resolve()
    return _Removed(store, collect_cache(cache, layout, digests, store.versions, dry_run=dry_run))


def _removed(parsed: argparse.Namespace, removed: _Removed) -> str:
    word = "would remove" if parsed.dry_run else "removed"
    store, cache = removed.store, removed.cache
    text = f"{word} {len(store.versions)} versions, {store.bytes / _MEGABYTE:.1f} MB"
    if cache is None:
        return text
    return f"{text}; of the cache {len(cache.folders)} folders, {cache.bytes / _MEGABYTE:.1f} MB"


def _verify(parsed: argparse.Namespace, layout: Layout) -> int:
    wrong, unreadable = [], 0
    progress = ProgressLine()
    records = [record for name in list_models(layout) for record in list_versions(layout, name)]
    digests = sorted({file.digest for record in records for file in record.files.values()})
    for number, digest in enumerate(digests):
        try:
            verify_blob(layout, digest)
        except StoreError as error:
            wrong.append(str(error))
            unreadable += is_temporary(error)
        progress("verifying", number + 1, len(digests))
    for record in records:
        folder = layout.version(record.name, record.id)
        try:
            wrong += [f"{folder / name}: wrong digest" for name in damaged_copies(layout, record)]
        except OSError as error:
            wrong.append(f"{error.filename or folder}: cannot be read: {error.strerror}")
            unreadable += is_temporary(error)
    if parsed.json:
        print(json.dumps({"files": len(digests), "wrong": wrong}, indent=2))
    else:
        print("\n".join([*wrong, f"{len(digests)} files, {len(wrong)} wrong"]))
        if wrong:
            print("`elastic-yolo provision --config FILE` with their models fetches them again")
    if not wrong:
        return 0
    return TRY_AGAIN if unreadable == len(wrong) else 1


def _roll_back(parsed: argparse.Namespace, layout: Layout) -> int:
    with locked(layout, parsed.wait):
        record = Writer(layout).roll_back(parsed.name, parsed.channel)
    print(
        f"{parsed.name}@{parsed.channel}: {record.id}, pinned until models.yaml names another "
        f"version than {record.rolled_back_from}"
    )
    return 0


def _release(parsed: argparse.Namespace, layout: Layout) -> int:
    with locked(layout, parsed.wait):
        before = Writer(layout).release(parsed.name, parsed.channel)
    where = f"{parsed.name}@{parsed.channel}"
    if before.rolled_back_from is None:
        print(f"{where} is not pinned: {before.id}")
    else:
        print(f"{where}: {before.id}, released; the next `provision` switches it")
    return 0


ACTIONS = {
    "pull": _pull,
    "list": _list,
    "gc": _gc,
    "verify": _verify,
    "rollback": _roll_back,
    "release": _release,
}
