"""Publish versions in a store like the provisioner, without downloads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from elastic_yolo.digest import digest_of_bytes
from elastic_yolo.durable import make_folder, write_durable
from elastic_yolo.store.layout import Layout
from elastic_yolo.store.records import VersionRecord
from elastic_yolo.store.writer import Check, Writer


def put(
    root: Path,
    files: Mapping[str, bytes],
    *,
    name: str = "yolo",
    version: str = "1",
    channel: str | None = "stable",
    check: Check = lambda _: None,
) -> VersionRecord:
    """Publish a version and point a channel at it."""
    layout = Layout(root)
    writer = Writer(layout)
    make_folder(layout.incoming)
    records = {}
    for file_name, content in files.items():
        digest = digest_of_bytes(content)
        known = writer.find_blob(digest)
        if known is None:
            part = layout.incoming / file_name
            write_durable(part, content)
            known = writer.add_blob(part, digest)
        records[file_name] = known
    record = writer.publish(name, version, records, "test", check)
    if channel is not None:
        writer.switch_channel(name, channel, record.id)
    return record
