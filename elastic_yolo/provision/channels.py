"""Switch a model's channels to the version that models.yaml names, except those that are pinned.

A rollback pins its channel until models.yaml names another version than the one that the channel
had before, or until the pin is released (`elastic-yolo provision release`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from elastic_yolo.store.errors import NotInStore
from elastic_yolo.store.reader import find_version
from elastic_yolo.store.records import ChannelRecord, VersionRecord
from elastic_yolo.store.writer import Writer


@dataclass(frozen=True)
class Switched:
    """What was done with the channels of a model."""

    any: bool
    """Whether one of them had another version before."""
    pins: tuple[str, ...]
    """A line for each channel that is pinned, or that was until now."""


def switch_channels(writer: Writer, named: VersionRecord, channels: Iterable[str]) -> Switched:
    """Point the channels of a model at the version that models.yaml names, unless pinned.

    Raises OSError or StoreError.
    """
    switched, pins = False, []
    for channel in channels:
        before = writer.find_channel(named.name, channel)
        if before is None or before.rolled_back_from is None:
            switched |= writer.switch_channel(named.name, channel, named.id)
            continue
        where, why = f"{named.name}@{channel}", _why_released(writer, named, before)
        if why is None:
            pins.append(
                f"{where}: pinned to {before.id} by a rollback at {before.since}; "
                f"models.yaml still names {named.id}"
            )
        else:
            switched |= writer.switch_channel(named.name, channel, named.id)
            pins.append(f"{where}: released from the rollback at {before.since}: {why}")
    return Switched(switched, tuple(pins))


def _why_released(writer: Writer, named: VersionRecord, pinned: ChannelRecord) -> str | None:
    """Return why a pin ends in this run, or None if the channel stays pinned."""
    if pinned.rolled_back_from != named.id:
        return f"models.yaml names {named.id}, no longer {pinned.rolled_back_from}"
    try:
        find_version(writer.layout, named.name, pinned.id)
    except NotInStore:
        # Readers that start now would have no version to serve.
        return f"its version {pinned.id} does not exist any more"
    return None
