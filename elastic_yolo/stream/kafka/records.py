"""What a record that a Kafka consumer received says, as a message of a stream has it."""

from __future__ import annotations

import time
from contextlib import suppress

from elastic_yolo.extras import naming_extra

with naming_extra("kafka://", "kafka"):
    from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message


def partition_of(received: Message) -> int:
    """Return the number of the partition."""
    number = received.partition()
    return -1 if number is None else number


def offset_of(received: Message) -> int:
    """Return the offset in the partition."""
    number = received.offset()
    return -1 if number is None else number


def added_at(received: Message) -> float:
    """Return when the record was written, in seconds since 1970; now, if the topic does not say."""
    kind, milliseconds = received.timestamp()
    return time.time() if kind == TIMESTAMP_NOT_AVAILABLE else milliseconds / 1000


def headers_of(received: Message) -> list[tuple[str, bytes | None]]:
    """Return the headers in their order; a name may come several times."""
    found = received.headers() or []
    pairs = found.items() if isinstance(found, dict) else found
    return [(name, value.encode() if isinstance(value, str) else value) for name, value in pairs]


def fields_of(received: Message) -> dict[str, str]:
    """Return the headers as text, and the key as `key` if it is UTF-8."""
    fields = {name: (value or b"").decode(errors="replace") for name, value in headers_of(received)}
    key = received.key()
    with suppress(UnicodeDecodeError):
        if key is not None:
            fields["key"] = key.decode()
    return fields
