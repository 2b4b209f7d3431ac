"""A consumer group of a Redis stream, as one of its consumers uses it.

https://redis.io/docs/latest/develop/data-types/streams/ explains the terms: *pending* entries are
those that were delivered to a consumer and not acknowledged, *idle* is how long ago that was.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import redis
from redis import exceptions

from elastic_yolo.stream.redis.connection import is_missing_group

_LOG = logging.getLogger(__name__)
_Reply = TypeVar("_Reply")
# Ids in one command, so that none blocks the server for long.
_MOST_IDS = 1000

# One command, because a consumer that receives between look and removal would lose what it got.
_REMOVE_CONSUMERS = """
local removed = 0
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
    local about = {}
    for i = 1, #consumer, 2 do about[consumer[i]] = consumer[i + 1] end
    local gone = about.idle >= tonumber(ARGV[3]) and about.name ~= ARGV[2]
    local own = ARGV[4] == 'own' and about.name == ARGV[2]
    if about.pending == 0 and (gone or own) then
        redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], about.name)
        removed = removed + 1
    end
end
return removed
"""


@dataclass(frozen=True)
class Entry:
    """An entry that was delivered to this consumer; `deliveries` counts this delivery as well."""

    id: str
    fields: Mapping[bytes, bytes]
    deliveries: int


@dataclass(frozen=True)
class Pending:
    """An entry that was delivered to some consumer `deliveries` times."""

    id: str
    deliveries: int


class ConsumerGroup:
    """The commands of one consumer; all of them raise redis-py's errors."""

    def __init__(self, client: redis.Redis, stream: str, group: str, consumer: str) -> None:
        """Name what the commands are about; sends nothing."""
        self._client: Any = client  # redis-py's hints allow coroutines everywhere
        self._stream = stream
        self._group = group
        self._consumer = consumer

    def read(self, most: int, block_ms: int) -> list[Entry]:
        """Return up to `most` entries that no consumer got yet; waits for the first one."""
        reply = self._with_group(
            lambda: self._client.xreadgroup(
                self._group,
                self._consumer,
                {self._stream: ">"},
                count=most,
                block=block_ms or None,  # 0 would be for ever
            )
        )
        entries = reply[0][1] if reply else []
        return [Entry(one.decode(), fields or {}, 1) for one, fields in entries]

    def idle(self, idle_ms: int, most: int) -> list[Pending]:
        """Return the oldest pending entries that are idle for so long."""
        reply = self._with_group(
            lambda: self._client.xpending_range(
                self._stream, self._group, "-", "+", most, idle=idle_ms
            )
        )
        return [Pending(one["message_id"].decode(), one["times_delivered"]) for one in reply]

    def take(self, pending: Pending, idle_ms: int) -> Entry | None:
        """Take an entry over; None if another consumer did, or the entry was deleted."""
        taken = self._with_group(
            lambda: self._client.xclaim(
                self._stream, self._group, self._consumer, idle_ms, [pending.id]
            )
        )
        # Redis 6.2 returns a deleted entry as nil, later versions leave it out and forget it.
        for one, fields in taken:
            if one is not None and fields:
                return Entry(one.decode(), fields, pending.deliveries + 1)
        if not self._client.xrange(self._stream, pending.id, pending.id):
            self.acknowledge([pending.id])
            _LOG.warning(
                "%s: entry %s was deleted before it was processed", self._stream, pending.id
            )
        return None

    def acknowledge(self, ids: Sequence[str]) -> None:
        """Remove entries from those that are pending, whichever consumer has them."""
        for some in _portions(ids):
            self._client.xack(self._stream, self._group, *some)

    def keep(self, ids: Iterable[str]) -> None:
        """Reset the idle time of those entries that this consumer still has."""
        for some in _portions(self._own(ids)):
            # JUSTID leaves the count of deliveries as it is.
            self._client.xclaim(
                self._stream, self._group, self._consumer, 0, list(some), justid=True
            )

    def give_back(self, deliveries: Mapping[str, int], idle_ms: int) -> None:
        """Make entries idle, so that another consumer takes them over at once.

        The delivery to this consumer counts no more. Maps ids to deliveries.
        """
        with self._client.pipeline(transaction=False) as pipeline:
            for one in self._own(deliveries):
                pipeline.xclaim(
                    self._stream,
                    self._group,
                    self._consumer,
                    0,
                    [one],
                    idle=idle_ms,
                    retrycount=deliveries[one] - 1,
                    justid=True,
                )
            pipeline.execute()

    def remove_consumers(self, idle_ms: int, *, own: bool = False) -> int:
        """Remove consumers that have nothing pending and are idle for so long, or this one.

        Returns how many. A consumer that still lives is created again by its next command.
        """
        return int(
            self._client.eval(
                _REMOVE_CONSUMERS,
                1,
                self._stream,
                self._group,
                self._consumer,
                idle_ms,
                "own" if own else "",
            )
        )

    def trim(self) -> None:
        """Delete the entries from the beginning of the stream that every group has acknowledged.

        What is delivered between the two commands has later ids than any of these.
        """
        try:
            groups = self._client.xinfo_groups(self._stream)
        except exceptions.ResponseError as error:
            if "no such key" in str(error):
                return
            raise
        needed = [self._first_needed(one) for one in groups]
        if needed:
            milliseconds, count = min(needed)
            self._client.xtrim(self._stream, minid=f"{milliseconds}-{count}", approximate=False)

    def _first_needed(self, group: Mapping[str, Any]) -> tuple[int, int]:
        """Return the id of a group's oldest pending entry, or the one behind the last delivered."""
        if group["pending"]:
            oldest = self._client.xpending(self._stream, group["name"])["min"]
            if oldest is not None:
                return order(oldest)
        milliseconds, count = order(group["last-delivered-id"])
        return milliseconds, count + 1

    def lag(self) -> int | None:
        """Return how many entries are not acknowledged; None if the server cannot count them."""
        try:
            groups = self._client.xinfo_groups(self._stream)
        except exceptions.ResponseError as error:
            if "no such key" in str(error):
                return 0
            raise
        for one in groups:
            if one["name"] == self._group.encode():
                waiting = one.get("lag")
                if waiting is None:
                    waiting = self._waiting_after(one["last-delivered-id"])
                return None if waiting is None else int(one["pending"] + waiting)
        return int(self._client.xlen(self._stream))

    def _waiting_after(self, delivered: bytes) -> int | None:
        """Return how many entries follow `delivered`, where that is known without reading them.

        Redis does not know since entries were deleted from the middle, or is older than 7.
        """
        about = self._client.xinfo_stream(self._stream)
        first = about["first-entry"]
        if first is None or about["last-generated-id"] == delivered:
            return 0
        return int(about["length"]) if order(first[0]) > order(delivered) else None

    def _own(self, ids: Iterable[str]) -> list[str]:
        """Return those ids that are pending for this consumer; others may have taken some over."""
        wanted = sorted(ids, key=order)
        if not wanted:
            return []
        reply = self._client.xpending_range(
            self._stream,
            self._group,
            wanted[0],
            wanted[-1],
            len(wanted) + _MOST_IDS,
            self._consumer,
        )
        return sorted({one["message_id"].decode() for one in reply} & set(wanted), key=order)

    def _with_group(self, command: Callable[[], _Reply]) -> _Reply:
        """Run a command; the group is created if it, or the stream, is missing."""
        try:
            return command()
        except exceptions.ResponseError as error:
            if not is_missing_group(error):
                raise
        try:
            self._client.xgroup_create(self._stream, self._group, id="0", mkstream=True)
        except exceptions.ResponseError as error:
            # Another consumer was faster.
            if not str(error).startswith("BUSYGROUP"):
                raise
        return command()


def order(entry: str | bytes) -> tuple[int, int]:
    """Return the two numbers of an entry's id: milliseconds since 1970, and a count."""
    text = entry.decode() if isinstance(entry, bytes) else entry
    milliseconds, _, count = text.partition("-")
    return int(milliseconds), int(count)


def _portions(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[start : start + _MOST_IDS] for start in range(0, len(ids), _MOST_IDS)]
