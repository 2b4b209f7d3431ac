"""A consumer process that receives, says what, and keeps it in hand until it is killed.

python -m tests.stream.kafka_consumer ADDRESS
"""

from __future__ import annotations

import sys

from elastic_yolo.stream.kafka.source import KafkaSource


def main(address: str) -> None:
    """Receive for ever."""
    source = KafkaSource.open(address)
    while True:
        for message in source.receive(10, 1):
            sys.stdout.write(f"{message.id} {message.deliveries}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
