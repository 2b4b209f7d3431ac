"""Results into a Kafka topic, with librdkafka's mock cluster and with Tansu, a real broker."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import uuid4

import pytest

from elastic_yolo.lab.processes.stack import LOOPBACK, free_port
from elastic_yolo.stream.errors import Unavailable
from elastic_yolo.stream.kafka import writer
from elastic_yolo.stream.kafka.sink import KafkaSink
from tests.stream.kafka_brokers import Cluster, tansu
from tests.stream.results import a_result
from tests.support.waiting import wait_until


@pytest.fixture
def topic(cluster: Cluster) -> str:
    name = f"results-{uuid4().hex}"
    cluster.create_topic(name, 2)
    return name


def test_each_result_is_a_record_with_its_id_as_key_and_its_json(
    cluster: Cluster, topic: str
) -> None:
    sink = KafkaSink.open(cluster.address(topic), {})
    results = [a_result(str(number)) for number in range(50)] + [a_result("ü \udcff")]
    sink.write(results)
    sink.close()
    found = {one.key().decode(): json.loads(one.value()) for one in cluster.read(topic, 51)}
    assert found == {one.id: one.to_json() for one in results}


def test_a_result_that_is_written_again_has_the_same_key_and_partition(
    cluster: Cluster, topic: str
) -> None:
    sink = KafkaSink.open(cluster.address(topic), {})
    sink.write([a_result("1")])
    sink.write([])
    sink.write([a_result("1")])
    sink.close()
    found = {(one.key(), one.partition()) for one in cluster.read(topic, 2)}
    assert len(found) == 1


def test_results_are_written_again_after_the_broker_was_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "DELIVERY_TIMEOUT_S", 2.0)
    with tansu(tmp_path) as broken:
        broken.create_topic("results", 1)
        sink = KafkaSink.open(broken.address("results"), {})
        sink.write([a_result("1")])
        broken.kill()
        with pytest.raises(Unavailable):
            sink.write([a_result("2")])
        # It comes back without what it had, as a cluster that lost its disks.
        broken.start()
        broken.create_topic("results", 1)

        def is_written() -> bool:
            try:
                sink.write([a_result("2")])
            except Unavailable:
                return False
            return True

        wait_until(is_written, "the results are written")
        sink.close()
        assert broken.read("results", 1)[0].key().decode() == a_result("2").id


def test_a_broker_that_is_not_there_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "DELIVERY_TIMEOUT_S", 1.0)
    sink = KafkaSink.open(f"kafka://{LOOPBACK}:{free_port()}/results", {})
    with pytest.raises(Unavailable) as unavailable:
        sink.write([a_result("1")])
    sink.close()
    assert "bird" not in str(unavailable.value)
