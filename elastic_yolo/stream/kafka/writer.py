"""Writes records to Kafka and waits until the brokers have them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from elastic_yolo.extras import naming_extra
from elastic_yolo.stream.errors import Refused, StreamError, Unavailable
from elastic_yolo.stream.kafka.client import KafkaAddress, as_stream_error, create_client, is_denied

with naming_extra("kafka://", "kafka"):
    from confluent_kafka import KafkaError, KafkaException, Producer

DELIVERY_TIMEOUT_S = 30.0
# The brokers' own limit is what counts: max.message.bytes of the topic.
_MOST_BYTES = 100 * 2**20
_TURN_S = 0.1
_Report = Callable[[KafkaError | None, object], None]


class RecordTooLarge(Refused):
    """A record has more bytes than the topic allows."""


@dataclass(frozen=True)
class Record:
    """What is written."""

    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes | None]] = field(default_factory=tuple)


class KafkaWriter:
    """An idempotent producer: all replicas in sync have a record before it counts as written."""

    def __init__(self, address: KafkaAddress) -> None:
        """Create the producer, which connects by itself; raises BadAddress."""
        self._address = address
        self._denied: KafkaError | None = None
        self._producer = self._create()

    def write(self, topic: str, records: Sequence[Record]) -> None:
        """Write records; raises Unavailable or Refused if any is not written.

        The others may be: whoever tries again writes them twice.
        """
        failed: list[KafkaError] = []

        def report(error: KafkaError | None, _: object) -> None:
            if error is not None:
                failed.append(error)

        for record in records:
            try:
                self._queue(topic, record, report)
            except KafkaException as error:
                failed.append(error.args[0])
                break
        try:
            self._flush()
        except KafkaException as error:
            # A fatal error of the producer comes as an exception.
            failed.insert(0, error.args[0])
        if failed:
            raise self._reason(failed)

    def close(self) -> None:
        """Drop what was not written."""
        self._producer.purge()
        self._producer.flush(1)

    def _create(self) -> Producer:
        own: Mapping[str, object] = {
            "enable.idempotence": True,
            "acks": "all",
            "message.max.bytes": _MOST_BYTES,
            "message.timeout.ms": round(DELIVERY_TIMEOUT_S * 1000),
            "error_cb": self._note_error,
        }
        self._denied = None
        return create_client(Producer, self._address, own)

    def _queue(self, topic: str, record: Record, report: _Report) -> None:
        while True:
            with suppress(BufferError):
                self._producer.produce(
                    topic,
                    value=record.value,
                    key=record.key,
                    headers=list(record.headers),
                    on_delivery=report,
                )
                return
            self._producer.poll(_TURN_S)

    def _flush(self) -> None:
        until = time.monotonic() + DELIVERY_TIMEOUT_S + 5
        while self._producer.flush(_TURN_S):
            if self._denied is not None or time.monotonic() > until:
                # Reports as failed what is left.
                self._producer.purge()

    def _reason(self, failed: Sequence[KafkaError]) -> StreamError:
        error = self._denied or failed[0]
        reason = as_stream_error(error, self._address)
        if error.fatal():
            # The brokers forgot this producer, or what it wrote. A new one can go on.
            self._producer = self._create()
            return Unavailable(str(reason))
        self._denied = None
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            return RecordTooLarge(str(reason))
        return reason

    def _note_error(self, error: KafkaError) -> None:
        if is_denied(error):
            self._denied = error
