"""Addresses, credentials and denials of Kafka; Tansu checks the credentials."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest

from elastic_yolo.lab.processes.stack import ROOT
from elastic_yolo.stream.errors import BadAddress, Refused
from elastic_yolo.stream.kafka.client import create_client, parse_kafka_address
from elastic_yolo.stream.kafka.sink import KafkaSink
from elastic_yolo.stream.kafka.source import KafkaSource
from tests.stream.kafka_brokers import Cluster, receive, tansu
from tests.stream.results import a_result

SECRET = "p@ss,word=1"  # noqa: S105
WRONG = {
    "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
    "KAFKA_SASL_MECHANISM": "SCRAM-SHA-256",
    "KAFKA_SASL_USERNAME": "nobody",
    "KAFKA_SASL_PASSWORD": SECRET,
}


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with tansu(tmp_path_factory.mktemp("tansu"), ["--authentication"]) as broker:
        yield broker


def test_wrong_credentials_are_refused_and_appear_in_no_message(
    locked: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    source = KafkaSource.open(locked.address("pictures"), WRONG)
    with pytest.raises(Refused) as refused:
        receive(source, 1, timeout_s=20)
    source.close()
    sink = KafkaSink.open(locked.address("results"), WRONG)
    with pytest.raises(Refused) as also_refused:
        sink.write([a_result("1")])
    sink.close()
    for text in (str(refused.value), str(also_refused.value), caplog.text):
        assert SECRET not in text


def test_kafka_variables_are_properties_of_librdkafka_but_not_what_the_address_says() -> None:
    environment = {
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_BOOTSTRAP_SERVERS": "other:1",
        "KAFKA_ENABLE_AUTO_COMMIT": "true",
        "OTHER": "x",
    }
    address = parse_kafka_address("kafka://one,two:1,[::1]/t", "", (), environment)
    got = create_client(dict, address, {"enable.auto.commit": False})
    assert got["bootstrap.servers"] == "one:9092,two:1,[::1]:9092"
    assert got["security.protocol"] == "SASL_SSL"
    assert got["enable.auto.commit"] is False
    assert "other" not in got
    assert "SASL" not in repr(address)


def test_variables_that_kubernetes_sets_for_a_service_named_kafka_do_no_harm() -> None:
    environment = {
        "KAFKA_SERVICE_HOST": "10.0.0.1",
        "KAFKA_PORT": "tcp://10.0.0.1:9092",
        "KAFKA_PORT_9092_TCP_ADDR": "10.0.0.1",
        "KAFKA_HEAP_OPTS": "-Xmx1G",
    }
    KafkaSink.open("kafka://host/results", environment).close()
    KafkaSource.open("kafka://host/pictures", environment).close()


def test_an_invalid_value_is_reported_by_the_name_of_its_variable() -> None:
    environment = {"KAFKA_SECURITY_PROTOCOL": SECRET}
    with pytest.raises(BadAddress, match="KAFKA_SECURITY_PROTOCOL") as bad:
        KafkaSink.open("kafka://host/results", environment)
    assert SECRET not in str(bad.value)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("kafka://host", "a topic has"),
        ("kafka://host/", "a topic has"),
        ("kafka://host/a/b", "a topic has"),
        ("kafka://host/..", "a topic has"),
        ("kafka://host/ü", "a topic has"),
        ("kafka:///pictures", "host is missing"),
        ("kafka://one,,two/pictures", "host is missing"),
        ("kafka://host:x/pictures", "port is no number"),
        ("kafka://host/pictures?group=", "'group' is empty"),
        ("kafka://host/pictures?topic=x", "unknown parameter 'topic', known are group"),
        ("kafka://user:cret@host/pictures", "KAFKA_SASL_PASSWORD"),
    ],
)
def test_a_bad_address_is_reported_with_what_is_expected(address: str, reason: str) -> None:
    with pytest.raises(BadAddress, match="expected kafka://") as bad:
        KafkaSource.open(address, {})
    assert reason in str(bad.value)
    assert "cret" not in str(bad.value)


def test_a_sink_takes_no_parameters() -> None:
    with pytest.raises(BadAddress, match="unknown parameter 'group', known are none"):
        KafkaSink.open("kafka://host/results?group=x", {})


def test_the_name_is_the_address_without_the_group() -> None:
    source = KafkaSource.open("kafka://b:1,a/pictures?group=x", {})
    assert source.name == "kafka://b:1,a:9092/pictures"
    source.close()


def test_without_the_package_the_extra_is_named() -> None:
    program = (
        "import sys; sys.modules['confluent_kafka'] = None\n"
        "import elastic_yolo.stream.redis.streams\n"
        "from elastic_yolo.extras import MissingPackage\n"
        "try:\n    import elastic_yolo.stream.kafka.source\n"
        "except MissingPackage as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "install 'elastic-yolo[kafka]'" in done.stdout
