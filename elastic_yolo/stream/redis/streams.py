"""Redis streams as source and sink.

A message is an entry with the field `picture`, the bytes of a picture file; its other fields are
the producer's text. Delivery is at least once: an entry is acknowledged when its result is written.
What a consumer had in hand when it died or stopped is taken over by another one. Redis counts the
deliveries, so that a picture that kills every consumer is recognised.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from threading import Event, Lock, Thread

import redis

from elastic_yolo.stream.errors import BadAddress
from elastic_yolo.stream.message import Message, Result
from elastic_yolo.stream.redis.connection import (
    RedisAddress,
    Reporting,
    connect,
    parse_redis_address,
)
from elastic_yolo.stream.redis.group import ConsumerGroup, Entry, order

SOURCE_FORM = "redis://[USER:PASSWORD@]HOST[:PORT][/DB]?stream=NAME[&group=NAME][&trim=answered]"
SINK_FORM = "redis://[USER:PASSWORD@]HOST[:PORT][/DB]?stream=NAME[&maxlen=N]"
DEFAULT_GROUP = "detect"
_ANSWERED = "answered"

PICTURE = b"picture"
# A dead letter has a whole picture, and Redis keeps it in memory: the oldest ones go.
MOST_DEAD_LETTERS = 1000
DEAD = ":dead"
MOST_BLOCKED_S = 5.0
# How often claims are looked for, at most: each consumer of a group asks.
_MOST_LOOK_S = 5.0
# While one claimed message is in hand, the next one waits for it.
_SOON_S = 0.1
_LOOKED_AT = 100
# With trim=answered: how often each consumer deletes what is answered.
_TRIM_S = 5.0
# A consumer without messages is removed after so many times `claim_after_s`.
_GONE_AFTER = 10


class RedisSource:
    """A consumer of a group; other processes with the same group share the work.

    Messages that another consumer did not acknowledge for `claim_after_s` seconds are taken over,
    one at a time: if one of them ends the process, it is known which. With `trim`, entries that
    every group of the stream has acknowledged are deleted; otherwise they stay, and whoever adds
    entries has to limit the stream.
    """

    newest_only = False
    dropped = 0
    finished = False

    def __init__(
        self, address: RedisAddress, group: str, claim_after_s: float, *, trim: bool = False
    ) -> None:
        """Start to keep messages alive; connects when it is used."""
        self.name = address.name
        self._stream = address.stream
        self._client = connect(address)
        self._report = Reporting(
            address, lambda: self._client.connection_pool.disconnect(inuse_connections=False)
        )
        # Never the same name twice: the messages of an earlier process are taken over like any
        # other's, after the time in which it might still be alive, stopped or cut off.
        consumer = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._group = ConsumerGroup(self._client, address.stream, group, consumer)
        self._claim_after_s = claim_after_s
        self._claim_after_ms = max(1, round(claim_after_s * 1000))
        self._next_look = 0.0
        self._next_removal = 0.0
        self._trim = trim
        self._next_trim = 0.0
        self._lock = Lock()
        self._in_hand: dict[str, Message] = {}
        self._claimed: str | None = None
        self._buried: set[str] = set()
        self._closing = Event()
        self._keeper = Thread(target=self._keep_alive, name="redis-keeper", daemon=True)
        self._keeper.start()

    @classmethod
    def open(
        cls, address: str, claim_after_s: float, environment: Mapping[str, str] | None = None
    ) -> RedisSource:
        """Return the source of an address like SOURCE_FORM; raises BadAddress.

        The environment, by default the process's, may have REDIS_PASSWORD.
        """
        known = ("stream", "group", "trim")
        parsed = parse_redis_address(address, SOURCE_FORM, known, environment)
        parameters = parsed.server.parameters
        if parameters.get("trim", _ANSWERED) != _ANSWERED:
            raise BadAddress(f"trim is not {_ANSWERED}; expected {SOURCE_FORM}")
        group = parameters.get("group", DEFAULT_GROUP)
        return cls(parsed, group, claim_after_s, trim="trim" in parameters)

    def receive(self, most: int, wait_s: float) -> list[Message]:
        """Return claimed messages, or new ones; see Source.receive.

        A message whose entry has no field `picture` has an empty picture.
        """
        until = time.monotonic() + wait_s
        with self._report:
            self._remove_consumers()
            self._trim_answered()
            while True:
                entries = self._claim() or self._read(most, until - time.monotonic())
                found = [one for entry in entries if (one := self._take(entry))]
                if found or time.monotonic() >= until:
                    return found

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Acknowledge messages; see Source.acknowledge."""
        ids = [one.id for one in messages]
        with self._report:
            self._group.acknowledge(ids)
        self._forget(ids)

    def reject(self, message: Message, reason: str) -> None:
        """Add an entry to the stream NAME:dead, and acknowledge the message.

        It has all fields of the message, and `reason`, `original-id` and `deliveries`.
        """
        entry: Entry = message.handle
        fields = {
            **entry.fields,
            b"reason": reason.encode(errors="replace"),
            b"original-id": message.id.encode(),
            b"deliveries": str(message.deliveries).encode(),
        }
        with self._report:
            # No transaction: Redis would acknowledge in it even if the entry cannot be added. If
            # the process ends in between, the entry comes twice, with the same original-id.
            if message.id not in self._buried:
                self._client.xadd(
                    self._stream + DEAD,
                    fields,  # type: ignore[arg-type]  # a dict of wider keys
                    maxlen=MOST_DEAD_LETTERS,
                    approximate=True,
                )
                self._buried.add(message.id)
            self._group.acknowledge([message.id])
        self._buried.discard(message.id)
        self._forget([message.id])

    def lag(self) -> int | None:
        """Return the entries of the group that are not acknowledged; see Source.lag.

        None after somebody deleted entries from the middle of the stream (XDEL), until all entries
        before are delivered.
        """
        with self._report:
            return self._group.lag()

    def close(self) -> None:
        """Give back what is in hand, so that others take it at once, and disconnect."""
        self._closing.set()
        self._keeper.join()
        with self._lock:
            deliveries = {one.id: one.deliveries for one in self._in_hand.values()}
        with suppress(redis.RedisError):
            self._group.give_back(deliveries, self._claim_after_ms)
            self._group.remove_consumers(_GONE_AFTER * self._claim_after_ms, own=True)
        self._client.close()

    def _claim(self) -> list[Entry]:
        """Take over one message, unless one is in hand already."""
        now = time.monotonic()
        if now < self._next_look or self._claimed is not None:
            return []
        # Not XAUTOCLAIM: it counts as deliveries what is passed over here, and does not say how
        # many there were before.
        for pending in self._group.idle(self._claim_after_ms, _LOOKED_AT):
            if pending.id in self._in_hand:
                continue
            entry = self._group.take(pending, self._claim_after_ms)
            if entry is not None:
                self._claimed = entry.id
                return [entry]
        self._next_look = now + min(self._claim_after_s / 4, _MOST_LOOK_S)
        return []

    def _read(self, most: int, wait_s: float) -> list[Entry]:
        longest = MOST_BLOCKED_S if self._claimed is None else _SOON_S
        until_look = max(self._next_look - time.monotonic(), _SOON_S)
        wait_s = min(max(wait_s, 0), longest, until_look)
        return self._group.read(most, round(wait_s * 1000))

    def _take(self, entry: Entry) -> Message | None:
        """Note that an entry is in hand; None if it is already, and its group was created anew."""
        milliseconds, _ = order(entry.id)
        message = Message(
            source=self.name,
            id=entry.id,
            picture=entry.fields.get(PICTURE, b""),
            added_at=milliseconds / 1000,
            deliveries=entry.deliveries,
            fields={
                name.decode(errors="replace"): value.decode(errors="replace")
                for name, value in entry.fields.items()
                if name != PICTURE
            },
            handle=entry,
        )
        with self._lock:
            if entry.id in self._in_hand:
                return None
            self._in_hand[entry.id] = message
        return message

    def _forget(self, ids: Sequence[str]) -> None:
        with self._lock:
            for one in ids:
                self._in_hand.pop(one, None)
            if self._claimed in ids:
                self._claimed = None

    def _remove_consumers(self) -> None:
        if time.monotonic() < self._next_removal:
            return
        self._next_removal = time.monotonic() + self._claim_after_s
        # Housekeeping: without permission for scripts, the names of ended consumers stay.
        with suppress(redis.ResponseError):
            self._group.remove_consumers(_GONE_AFTER * self._claim_after_ms)

    def _trim_answered(self) -> None:
        if self._trim and time.monotonic() >= self._next_trim:
            self._next_trim = time.monotonic() + _TRIM_S
            self._group.trim()

    def _keep_alive(self) -> None:
        """Reset the idle time of what is in hand, however long it takes.

        Only a dead, stopped or disconnected process loses its messages to others. Whether a process
        still gets on with its work is for its liveness probe to find out. A limit here would call
        good pictures poison while a sink is down for longer.
        """
        while not self._closing.wait(self._claim_after_s / 4):
            with self._lock:
                ids = list(self._in_hand)
            # It is tried again, and the receiving thread reports.
            with suppress(redis.RedisError):
                self._group.keep(ids)


class RedisSink:
    """Adds an entry for each result: `id`, the result's, and `result`, its JSON.

    A result that is written again has the same `id`. With `maxlen`, the stream keeps about that
    many entries.
    """

    def __init__(self, address: RedisAddress, maxlen: int | None) -> None:
        """Take an address; connects when it is used."""
        self.name = address.name
        self._stream = address.stream
        self._maxlen = maxlen
        self._client = connect(address)
        self._report = Reporting(address, self._client.connection_pool.disconnect)

    @classmethod
    def open(cls, address: str, environment: Mapping[str, str] | None = None) -> RedisSink:
        """Return the sink of an address like SINK_FORM; raises BadAddress.

        The environment, by default the process's, may have REDIS_PASSWORD.
        """
        parsed = parse_redis_address(address, SINK_FORM, ("stream", "maxlen"), environment)
        maxlen = parsed.server.parameters.get("maxlen")
        if maxlen is not None and not (maxlen.isascii() and maxlen.isdecimal() and int(maxlen)):
            raise BadAddress(f"maxlen is no number from 1 on; expected {SINK_FORM}")
        return cls(parsed, None if maxlen is None else int(maxlen))

    def write(self, results: Sequence[Result]) -> None:
        """Add the results in one round trip; see Sink.write."""
        with self._report, self._client.pipeline(transaction=False) as pipeline:
            for one in results:
                pipeline.xadd(
                    self._stream,
                    {"id": one.id, "result": json.dumps(one.to_json())},
                    maxlen=self._maxlen,
                    approximate=True,
                )
            pipeline.execute()

    def close(self) -> None:
        """Disconnect."""
        self._client.close()
