"""Pictures from a Kafka topic, with librdkafka's mock cluster and with Tansu, a real broker.

Joining a group takes three seconds: brokers wait for further consumers.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from elastic_yolo.lab.processes.stack import LOOPBACK, ROOT, free_port
from elastic_yolo.stream.errors import Unavailable
from elastic_yolo.stream.kafka.source import KafkaSource
from elastic_yolo.stream.message import Message
from tests.stream.kafka_brokers import (
    SESSION,
    Cluster,
    open_source,
    receive,
    tansu,
)
from tests.support.waiting import wait_until


@pytest.fixture
def topic() -> str:
    return f"pictures-{uuid4().hex}"


Open = Callable[..., KafkaSource]


@pytest.fixture
def opened(topic: str) -> Iterator[Open]:
    """Opens sources of the test's topic, and closes them at the end."""
    sources: list[KafkaSource] = []

    def open_one(cluster: Cluster, environment: Mapping[str, str] | None = None) -> KafkaSource:
        sources.append(open_source(cluster, topic, environment))
        return sources[-1]

    yield open_one
    for source in sources:
        source.close()


@contextmanager
def consumer_process(cluster: Cluster, topic: str) -> Iterator[Any]:
    """Run a process that receives and never acknowledges."""
    command = [sys.executable, "-m", "tests.stream.kafka_consumer"]
    process = subprocess.Popen(
        [*command, cluster.address(topic, "?group=detect")],
        cwd=ROOT,
        env={**os.environ, **SESSION},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


def finish(source: KafkaSource, count: int) -> list[Message]:
    """Receive and acknowledge so many messages, each at once."""
    found: list[Message] = []

    def is_done() -> bool:
        some = source.receive(10, 0.5)
        source.acknowledge(some)
        found.extend(some)
        return len(found) >= count

    wait_until(is_done, f"{count} messages", 60)
    return found


@pytest.mark.long
def test_a_message_has_the_value_headers_key_and_time(
    cluster: Cluster, topic: str, opened: Open
) -> None:
    cluster.create_topic(topic, 1)
    before = time.time()
    headers = [("camera", "gate ü".encode()), ("odd", b"\xff"), ("none", None)]
    cluster.produce(topic, [b"\xff\xd8\x00"], key=b"gate", headers=headers)
    cluster.produce(topic, [None], key=b"\xff")
    message, without = receive(opened(cluster), 2)
    assert message.picture == b"\xff\xd8\x00"
    assert message.fields == {"camera": "gate ü", "odd": "�", "none": "", "key": "gate"}
    assert (message.id, message.deliveries) == ("0-0", 1)
    assert before - 1 < message.added_at < time.time() + 1
    assert (without.picture, without.fields) == (b"", {})


@pytest.mark.long
def test_the_first_unacknowledged_message_is_where_the_next_consumer_begins(
    cluster: Cluster, topic: str, opened: Open
) -> None:
    cluster.create_topic(topic, 1)
    cluster.produce(topic, [b"%d" % number for number in range(6)])
    source = opened(cluster)
    messages = receive(source, 6)
    source.acknowledge(messages[3:])
    assert cluster.committed(topic)[0] == 0
    source.acknowledge(messages[:2])
    assert cluster.committed(topic)[0] == 2
    source.close()
    # What was acknowledged out of order comes again; what was in hand does not count.
    again = receive(opened(cluster), 4)
    assert [(one.picture, one.deliveries) for one in again] == [
        (b"%d" % number, 1) for number in range(2, 6)
    ]


@pytest.mark.long
def test_the_lag_counts_what_is_not_acknowledged_in_all_partitions(
    mock: Cluster, topic: str, opened: Open
) -> None:
    # Tansu counts batches of records where Kafka counts records.
    cluster = mock
    cluster.create_topic(topic, 2)
    cluster.produce(topic, [b"x"] * 3, partition=0)
    cluster.produce(topic, [b"x"] * 4, partition=1)
    source = opened(cluster)
    assert source.lag() is None
    messages = receive(source, 7)
    assert source.lag() == 7
    source.acknowledge(messages[1:])
    assert 1 <= (source.lag() or 0) <= 4
    source.acknowledge(messages[:1])
    assert source.lag() == 0


@pytest.mark.long
def test_a_dead_letter_keeps_the_picture_and_says_why(
    cluster: Cluster, topic: str, opened: Open
) -> None:
    for one in (topic, f"{topic}.dead"):
        cluster.create_topic(one, 1)
    content = bytes(range(256)) * 8000
    # It was a dead letter before, and somebody put it back.
    headers = [("camera", b"gate"), ("reason", b"an older one")]
    cluster.produce(topic, [b"good", content], key=b"gate", headers=headers)
    source = opened(cluster)
    good, bad = receive(source, 2)
    source.reject(bad, "it does not decode \udcff")
    assert cluster.committed(topic)[0] == 0
    source.acknowledge([good])
    assert cluster.committed(topic)[0] == 2
    (dead,) = cluster.read(f"{topic}.dead", 1)
    assert dead.value() == content
    assert dead.key() == b"gate"
    assert dict(dead.headers()) == {
        "camera": b"gate",
        "reason": b"it does not decode ?",
        "original-id": b"0-1",
        "deliveries": b"1",
    }


@pytest.mark.long
def test_messages_of_a_killed_process_come_again_to_another(
    cluster: Cluster, topic: str, opened: Open
) -> None:
    cluster.create_topic(topic, 1)
    cluster.produce(topic, [b"%d" % number for number in range(5)])
    with consumer_process(cluster, topic) as process:
        for _ in range(5):
            assert process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    again = finish(opened(cluster), 5)
    assert [one.picture for one in again] == [b"%d" % number for number in range(5)]
    assert cluster.committed(topic)[0] == 5


@pytest.mark.long
def test_a_message_that_kills_each_consumer_is_delivered_with_a_growing_count_and_others_are_not(
    mock: Cluster, topic: str, opened: Open
) -> None:
    mock.create_topic(topic, 1)
    mock.produce(topic, [b"poison", b"innocent", b"innocent"])
    with consumer_process(mock, topic) as process:
        for number in range(3):
            assert process.stdout.readline().split() == [f"0-{number}", "1"]
        process.send_signal(signal.SIGKILL)
    with consumer_process(mock, topic) as process:
        # One at a time: the next one would come if this one were acknowledged.
        assert process.stdout.readline().split() == ["0-0", "2"]
        process.send_signal(signal.SIGKILL)
    source = opened(mock)
    (poison,) = receive(source, 1)
    assert (poison.id, poison.deliveries) == ("0-0", 3)
    assert source.receive(10, 0.5) == []
    source.reject(poison, "it ends the process")
    assert [(one.id, one.deliveries) for one in finish(source, 2)] == [("0-1", 2), ("0-2", 2)]

    def has_no_suspects() -> bool:
        assert source.receive(10, 0.1) == []
        return mock.committed(topic) == (3, "")

    wait_until(has_no_suspects, "the end of the partition is known")


@pytest.mark.long
def test_other_partitions_wait_while_suspects_are_delivered_and_lose_nothing(
    mock: Cluster, topic: str, opened: Open
) -> None:
    mock.create_topic(topic, 3)
    mock.produce(topic, [b"suspect"] * 3, partition=1)
    with consumer_process(mock, topic) as process:
        for _ in range(3):
            assert process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    for partition in (0, 2):
        mock.produce(topic, [b"%d" % number for number in range(50)], partition=partition)
    source = opened(mock)
    found = finish(source, 103)
    assert [one.picture for one in found[:3]] == [b"suspect"] * 3
    assert len({one.id for one in found}) == len(found) == 103
    assert source.lag() == 0


@pytest.mark.long
def test_partitions_move_to_a_second_consumer_and_late_acknowledgements_are_no_error(
    broker: Cluster, topic: str, opened: Open
) -> None:
    """With a broker alone: the mock sometimes takes more than a minute to move partitions."""
    cluster = broker
    cluster.create_topic(topic, 2)
    for partition in range(2):
        cluster.produce(topic, [b"x"] * 3, partition=partition)
    first = opened(cluster)
    held = receive(first, 6)
    second = opened(cluster)
    moved: list[Message] = []

    def has_moved() -> bool:
        assert first.receive(10, 0.1) == []
        moved.extend(second.receive(10, 0.1))
        return len(moved) >= 3

    wait_until(has_moved, "three messages come to the second consumer", 60)
    assert {one.id for one in moved} <= {one.id for one in held}
    # A rebalance is no death.
    assert {one.deliveries for one in moved} == {1}
    first.acknowledge(held)
    second.acknowledge(moved)

    def is_done() -> bool:
        for source in (first, second):
            source.acknowledge(source.receive(10, 0.1))
        return cluster.committed(topic, 0)[0] == cluster.committed(topic, 1)[0] == 3

    wait_until(is_done, "both partitions are finished", 60)


@pytest.mark.long
def test_a_consumer_that_waits_for_a_slow_sink_stays_in_its_group_and_loses_nothing(
    cluster: Cluster, topic: str, opened: Open
) -> None:
    cluster.create_topic(topic, 2)
    for partition in range(2):
        cluster.produce(topic, [b"%d" % number for number in range(20)], partition=partition)
    source = opened(cluster, {"KAFKA_MAX_POLL_INTERVAL_MS": "8000"})
    held = receive(source, 1, most=1)
    # Longer than a group waits for a consumer that does not poll.
    time.sleep(15)
    found = [*held, *receive(source, 39, most=7)]
    assert len({one.id for one in found}) == len(found) == 40
    source.acknowledge(found)
    assert source.lag() == 0


@pytest.mark.long
def test_a_source_is_unavailable_until_its_broker_is_back_and_the_log_stays_short(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The client says only once that all brokers are down, and tries twenty times a second."""
    caplog.set_level(logging.INFO)
    with tansu(tmp_path) as broker:
        broker.create_topic("pictures", 1)
        source = open_source(broker, "pictures")
        broker.produce("pictures", [b"one"])
        receive(source, 1)
        broker.kill()

        def is_unavailable() -> bool:
            try:
                source.receive(1, 0.1)
            except Unavailable:
                return True
            return False

        wait_until(is_unavailable, "the outage is noticed", 60)
        assert [is_unavailable() for _ in range(3)] == [True] * 3
        broker.start()
        broker.create_topic("pictures", 1)
        wait_until(lambda: not is_unavailable(), "the broker is back", 60)
        source.close()
    assert len([one for one in caplog.records if "elastic_yolo" in one.name]) < 12


def test_a_broker_that_is_not_there_is_unavailable() -> None:
    source = KafkaSource.open(f"kafka://{LOOPBACK}:{free_port()}/pictures", {})
    try:
        with pytest.raises(Unavailable, match=r"kafka://127\.0\.0\.1:.*brokers are down"):
            receive(source, 1, timeout_s=20)
    finally:
        source.close()


def test_a_topic_that_does_not_exist_is_unavailable_and_named(
    broker: Cluster, opened: Open, topic: str
) -> None:
    with pytest.raises(Unavailable, match=topic):
        receive(opened(broker), 1, timeout_s=20)
