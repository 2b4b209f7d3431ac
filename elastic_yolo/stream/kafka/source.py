"""A Kafka topic as a source.

A message is a record whose value is the bytes of a picture file; its headers, and its key if that
is text, are the producer's fields. Delivery is at least once: the offset that is committed is that
of the first message whose result is not written. progress.py says how deliveries are counted.
"""

from __future__ import annotations

import logging
import re
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Event, Lock, RLock, Thread

from elastic_yolo.extras import naming_extra
from elastic_yolo.stream.errors import Refused, StreamError
from elastic_yolo.stream.kafka.client import (
    KafkaAddress,
    as_stream_error,
    create_client,
    is_denied,
    parse_kafka_address,
)
from elastic_yolo.stream.kafka.progress import Mark, PartitionProgress, parse_mark
from elastic_yolo.stream.kafka.records import (
    added_at,
    fields_of,
    headers_of,
    offset_of,
    partition_of,
)
from elastic_yolo.stream.kafka.writer import KafkaWriter, Record, RecordTooLarge
from elastic_yolo.stream.message import Message

with naming_extra("kafka://", "kafka"):
    from confluent_kafka import (
        Consumer,
        KafkaError,
        KafkaException,
        TopicPartition,
    )
    from confluent_kafka import Message as Received

SOURCE_FORM = "kafka://HOST[:PORT][,HOST[:PORT]...]/TOPIC[?group=NAME]"
DEFAULT_GROUP = "detect"
DEAD = ".dead"

_LOG = logging.getLogger(__name__)
# What differs from one attempt to connect to the next.
_DETAIL = re.compile(r" \(after .*")
_TIMEOUT_S = 10.0
_ASK_S = 1.0
_TURN_S = 0.05
# A consumer that nobody asks for so long polls by itself: otherwise its group would exclude it.
_AWAY_S = 5.0
_NOT_ASSIGNED = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.FENCED_MEMBER_EPOCH,
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError._ASSIGNMENT_LOST,  # noqa: SLF001
        KafkaError._NO_OFFSET,  # noqa: SLF001
    }
)
_OWN_HEADERS = frozenset({"reason", "original-id", "deliveries", "picture-omitted"})


@dataclass(frozen=True)
class _Handle:
    received: Received
    progress: PartitionProgress


class KafkaSource:
    """A consumer of a group; the partitions of the topic are shared among its consumers."""

    newest_only = False
    dropped = 0
    finished = False

    def __init__(self, address: KafkaAddress, group: str) -> None:
        """Join the group, in the background; raises BadAddress."""
        self.name = address.name
        self._address = address
        self._topic = address.topic
        # Who polls; and who changes progress or commits. Callbacks of a poll take the second.
        self._polling = Lock()
        self._lock = RLock()
        self._progress: dict[int, PartitionProgress] = {}
        self._held: dict[int, deque[Received]] = {}
        self._ready: list[Message] = []
        self._error: StreamError | None = None
        self._is_down = False
        self._said: set[str] = set()
        self._last_receive = time.monotonic()
        self._writer: KafkaWriter | None = None
        self._consumer = create_client(
            Consumer,
            address,
            {
                "group.id": group,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                # Only the partitions that move are revoked when consumers come and go.
                "partition.assignment.strategy": "cooperative-sticky",
                "error_cb": self._note_error,
            },
        )
        self._consumer.subscribe(
            [self._topic],
            on_assign=self._assigned,
            on_revoke=self._revoked,
            on_lost=self._lost,
        )
        self._closing = Event()
        self._keeper = Thread(target=self._keep_membership, name="kafka-keeper", daemon=True)
        self._keeper.start()

    @classmethod
    def open(cls, address: str, environment: Mapping[str, str] | None = None) -> KafkaSource:
        """Return the source of an address like SOURCE_FORM; raises BadAddress.

        KAFKA_* of the environment, by default the process's, are properties of librdkafka.
        """
        parsed = parse_kafka_address(address, SOURCE_FORM, ("group",), environment)
        return cls(parsed, parsed.parameters.get("group", DEFAULT_GROUP))

    def receive(self, most: int, wait_s: float) -> list[Message]:
        """Return messages of the assigned partitions; see Source.receive.

        A message without a value has an empty picture.
        """
        until = time.monotonic() + wait_s
        with self._polling:
            # After an error, what could not be returned is still here.
            while len(self._ready) < most:
                message = self._next(until if not self._ready else 0)
                if message is None:
                    break
                self._ready.append(message)
            with self._lock:
                self._commit()
                found = [one for one in self._ready if not one.handle.progress.lost]
                self._ready = []
            self._last_receive = time.monotonic()
            if self._is_down:
                self._require_broker(found)
        return found

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Commit how far each partition is finished; see Source.acknowledge.

        Messages of partitions that another consumer has by now are ignored: it got them too.
        """
        with self._lock:
            for one in messages:
                handle: _Handle = one.handle
                handle.progress.finish(offset_of(handle.received))
            self._commit()

    def reject(self, message: Message, reason: str) -> None:
        """Write a record to the topic NAME.dead, and acknowledge the message.

        It is the message with three more headers: `reason`, `original-id` and `deliveries`. If the
        topic does not allow so many bytes, the value is left out, and the header `picture-omitted`
        says how many there were.
        """
        received: Received = message.handle.received
        if self._writer is None:
            self._writer = KafkaWriter(self._address)
        headers = [
            (name, value) for name, value in headers_of(received) if name not in _OWN_HEADERS
        ]
        headers += [
            ("reason", reason.encode(errors="replace")),
            ("original-id", message.id.encode()),
            ("deliveries", str(message.deliveries).encode()),
        ]
        dead = self._topic + DEAD
        value, key = received.value(), received.key()
        try:
            self._writer.write(dead, [Record(value, key, headers)])
        except RecordTooLarge:
            headers.append(("picture-omitted", f"{len(value or b'')} bytes".encode()))
            self._writer.write(dead, [Record(None, key, headers)])
        self.acknowledge([message])

    def lag(self) -> int | None:
        """Return the records after the first one that is not acknowledged, of assigned partitions.

        None as long as none is assigned.
        """
        with self._lock:
            if not self._progress:
                return None
            return sum(self._lag_of(number, one) for number, one in self._progress.items())

    def close(self) -> None:
        """Leave the group; what is in hand goes to other consumers, and is not counted."""
        self._closing.set()
        self._keeper.join()
        with self._polling, self._lock:
            # Revokes all partitions.
            self._consumer.close()
        if self._writer is not None:
            self._writer.close()

    def _lag_of(self, number: int, progress: PartitionProgress) -> int:
        partition = TopicPartition(self._topic, number)
        try:
            ends = self._consumer.get_watermark_offsets(partition, timeout=_TIMEOUT_S)
        except KafkaException as error:
            raise as_stream_error(error.args[0], self._address) from None
        oldest, after_newest = ends or (0, 0)
        return max(0, after_newest - max(oldest, progress.lowest))

    def _next(self, until: float) -> Message | None:
        """Return the next message that may be delivered, None if there is none until then."""
        while True:
            received = self._release() or self._poll(min(max(until - time.monotonic(), 0), _TURN_S))
            if received is not None and self._may_deliver(received):
                return self._deliver(received)
            if received is not None:
                self._hold(received)
                continue
            if time.monotonic() >= until:
                return None

    def _poll(self, wait_s: float) -> Received | None:
        """Return what comes next, after callbacks have run."""
        try:
            received = self._consumer.poll(wait_s)
        except KafkaException as error:
            raise as_stream_error(error.args[0], self._address) from None
        fault = None if received is None else received.error()
        if received is not None and fault is not None:
            if fault.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
                self._note_end(partition_of(received))
            else:
                self._error = self._error or as_stream_error(fault, self._address)
            received = None
        if received is not None and partition_of(received) not in self._progress:
            received = None
        noted, self._error = self._error, None
        if noted is not None:
            if received is not None:
                # The client does not return it again.
                self._hold(received)
            raise noted
        return received

    def _may_deliver(self, received: Received) -> bool:
        """While there are suspects, nothing else is delivered, and one of them at a time."""
        with self._lock:
            if not any(one.has_suspects for one in self._progress.values()):
                return True
            if any(one.in_hand for one in self._progress.values()):
                return False
            return self._progress[partition_of(received)].has_suspects

    def _deliver(self, received: Received) -> Message:
        progress = self._progress[partition_of(received)]
        with self._lock:
            deliveries = progress.deliver(offset_of(received))
        return Message(
            source=self.name,
            id=f"{received.partition()}-{received.offset()}",
            picture=received.value() or b"",
            added_at=added_at(received),
            deliveries=deliveries,
            fields=fields_of(received),
            handle=_Handle(received, progress),
        )

    def _hold(self, received: Received) -> None:
        """Keep a message for later; its partition brings no others until then."""
        number = partition_of(received)
        self._held.setdefault(number, deque()).append(received)
        with suppress(KafkaException):
            self._consumer.pause([TopicPartition(self._topic, number)])

    def _release(self) -> Received | None:
        """Return a message that was kept and may be delivered now."""
        for number, waiting in self._held.items():
            if self._may_deliver(waiting[0]):
                received = waiting.popleft()
                if not waiting:
                    del self._held[number]
                    with suppress(KafkaException):
                        self._consumer.resume([TopicPartition(self._topic, number)])
                return received
        return None

    def _note_end(self, number: int) -> None:
        """Note that all messages of a partition came: more were suspected than there are."""
        waiting = self._held.get(number)
        with self._lock:
            progress = self._progress.get(number)
            if progress is not None:
                progress.limit_suspects(offset_of(waiting[-1]) + 1 if waiting else 0)

    def _commit(self) -> None:
        """Commit what is due in all partitions."""
        due = {number: one.due() for number, one in self._progress.items()}
        self._commit_marks({number: mark for number, mark in due.items() if mark is not None})

    def _commit_marks(self, marks: Mapping[int, Mark]) -> None:
        if not marks:
            return
        offsets = [
            TopicPartition(self._topic, number, mark.offset, metadata=mark.metadata)
            for number, mark in marks.items()
        ]
        for number, error in self._send_commit(offsets):
            if error is None:
                self._progress[number].committed(marks[number])
            elif error.code() in _NOT_ASSIGNED:
                # A rebalance is under way. If the partition stays, the next commit says it again.
                _LOG.debug("%s: not committed: %s", self.name, error)
            else:
                raise as_stream_error(error, self._address)

    def _send_commit(
        self, offsets: Sequence[TopicPartition]
    ) -> Iterator[tuple[int, KafkaError | None]]:
        """Yield partitions and why they could not be committed."""
        try:
            done = self._consumer.commit(offsets=list(offsets), asynchronous=False)
        except KafkaException as error:
            yield from ((one.partition, error.args[0]) for one in offsets)
        else:
            yield from ((one.partition, one.error) for one in done or ())

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        try:
            committed = consumer.committed(partitions, timeout=_TIMEOUT_S)
        except KafkaException as error:
            # Without the counts. Where to go on, the client finds out by itself.
            _LOG.warning("%s: counts of deliveries are unknown: %s", self.name, error.args[0].str())
            committed = partitions
        with self._lock:
            for one in committed:
                mark = parse_mark(max(one.offset, 0), one.metadata)
                self._progress[one.partition] = PartitionProgress(mark)

    def _revoked(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = [one.partition for one in partitions if one.partition in self._progress]
        with self._lock:
            marks = {}
            for number in numbers:
                mark = self._progress[number].give_back()
                if mark != self._progress[number].last_commit:
                    marks[number] = mark
            # Not committed: they come again, and one of them counts.
            with suppress(StreamError):
                self._commit_marks(marks)
            self._forget(numbers)

    def _lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        with self._lock:
            self._forget([one.partition for one in partitions])

    def _forget(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self._held.pop(number, None)
            progress = self._progress.pop(number, None)
            if progress is not None:
                progress.lost = True

    def _require_broker(self, found: Sequence[Message]) -> None:
        """Raise Unavailable until a broker responds: the client says only once that all are down.

        Messages that came are as good as a response.
        """
        if not found:
            try:
                self._consumer.list_topics(self._topic, timeout=_ASK_S)
            except KafkaException as error:
                raise as_stream_error(error.args[0], self._address) from None
        self._is_down = False
        self._said.clear()

    def _note_error(self, error: KafkaError) -> None:
        """Keep what the next call raises; a single broker that is away is no error yet."""
        is_down = error.code() == KafkaError._ALL_BROKERS_DOWN  # noqa: SLF001
        self._is_down = self._is_down or is_down
        if is_denied(error) or (is_down and self._error is None):
            self._error = as_stream_error(error, self._address)
            return
        said = _DETAIL.sub("", error.str())
        if said not in self._said:
            # The client tries to connect several times a second.
            self._said.add(said)
            _LOG.info("%s: %s", self.name, said)

    def _keep_membership(self) -> None:
        """Poll while nobody receives, as when a sink is down: messages that come are held."""
        while not self._closing.wait(1):
            if time.monotonic() < self._last_receive + _AWAY_S:
                continue
            if not self._polling.acquire(blocking=False):
                continue
            try:
                while (received := self._poll(0)) is not None:
                    self._hold(received)
            except Refused as error:
                self._error = error
            except StreamError as error:
                _LOG.info("%s", error)
            finally:
                self._polling.release()
