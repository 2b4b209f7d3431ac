"""A Kafka topic as a sink for results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from elastic_yolo.stream.kafka.client import KafkaAddress, parse_kafka_address
from elastic_yolo.stream.kafka.writer import KafkaWriter, Record
from elastic_yolo.stream.message import Result

SINK_FORM = "kafka://HOST[:PORT][,HOST[:PORT]...]/TOPIC"


class KafkaSink:
    """Writes a record for each result: the key is its id, the value its JSON.

    The key lets a compacted topic drop what is written twice.
    """

    def __init__(self, address: KafkaAddress) -> None:
        """Create the producer, which connects by itself; raises BadAddress."""
        self.name = address.name
        self._topic = address.topic
        self._writer = KafkaWriter(address)

    @classmethod
    def open(cls, address: str, environment: Mapping[str, str] | None = None) -> KafkaSink:
        """Return the sink of an address like SINK_FORM; raises BadAddress.

        KAFKA_* of the environment, by default the process's, are properties of librdkafka.
        """
        return cls(parse_kafka_address(address, SINK_FORM, (), environment))

    def write(self, results: Sequence[Result]) -> None:
        """Write the results and wait for the brokers; see Sink.write."""
        records = [Record(json.dumps(one.to_json()).encode(), one.id.encode()) for one in results]
        self._writer.write(self._topic, records)

    def close(self) -> None:
        """Disconnect."""
        self._writer.close()
