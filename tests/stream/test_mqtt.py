"""Tests of an MQTT topic as a sink, with a real broker."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from elastic_yolo.stream.errors import BadAddress, Refused, Unavailable
from elastic_yolo.stream.sinks.mqtt import MqttSink
from tests.stream.mosquitto import OPEN, PASSWORDS, Mosquitto, needs_mosquitto
from tests.stream.seen import seen
from tests.stream.tls_front import make_certificate
from tests.support.waiting import wait_until

PATIENCE_S = 60
STAYS = [seen(at / 2, "person") for at in range(4)]


@contextmanager
def sink_to(address: str, wait_s: float = 10) -> Iterator[MqttSink]:
    sink = MqttSink(address, wait_s=wait_s)
    try:
        yield sink
    finally:
        sink.close()


@contextmanager
def subscribed(broker: Mosquitto, topic: str) -> Iterator[SimpleQueue[dict[str, Any]]]:
    """Subscribe until the block ends; the broker keeps what comes until somebody subscribes again.

    Yields what comes.
    """
    received: SimpleQueue[dict[str, Any]] = SimpleQueue()
    ready = Event()
    client = Client(CallbackAPIVersion.VERSION2, client_id="reader", clean_session=False)
    client.on_connect = lambda *_: client.subscribe(topic, qos=1)
    client.on_subscribe = lambda *_: ready.set()
    client.on_message = lambda _, __, message: received.put(json.loads(message.payload))
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    assert ready.wait(PATIENCE_S)
    try:
        yield received
    finally:
        client.disconnect()
        client.loop_stop()


@needs_mosquitto
def test_events_are_published_and_the_broker_has_them_when_write_returns(tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path) as broker,
        subscribed(broker, "site/yard events") as received,
        sink_to(f"mqtt://{broker.place}/site/yard%20events") as sink,
    ):
        sink.write(STAYS)
        event = received.get(timeout=PATIENCE_S)
    assert (event["event"], event["label"], event["count"]) == ("entered", "person", 1)


@needs_mosquitto
def test_results_are_published_if_asked_for_in_their_order(tmp_path: Path) -> None:
    results = [seen(at, "person") for at in range(50)]
    with (
        Mosquitto(tmp_path) as broker,
        subscribed(broker, "#") as received,
        sink_to(f"mqtt://{broker.place}/all?send=results") as sink,
    ):
        sink.write(results)
        found = [received.get(timeout=PATIENCE_S) for _ in results]
    assert [one["id"] for one in found] == [one.id for one in results]


@needs_mosquitto
def test_nothing_is_lost_when_the_broker_restarts(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, sink_to(f"mqtt://{broker.place}/all?send=results") as sink:
        sink.write([seen(1)])
        broker.kill()
        broker.start()
        with subscribed(broker, "#") as received:
            _write_until_done(sink, 2)
            assert received.get(timeout=PATIENCE_S)["id"] == seen(2).id


@needs_mosquitto
def test_a_message_that_was_not_confirmed_is_sent_again(tmp_path: Path) -> None:
    stored = f"persistence true\npersistence_location {tmp_path}/\nautosave_on_changes true\n"
    broker = Mosquitto(tmp_path, f"{OPEN}{stored}autosave_interval 1\n")
    with broker, sink_to(f"mqtt://{broker.place}/all?send=results", wait_s=1) as sink:
        with subscribed(broker, "#"):
            _write_until_done(sink, 1)
        # The message gets into a buffer that the broker never reads.
        broker.signal(signal.SIGSTOP)
        with pytest.raises(Unavailable, match="no confirmation"):
            sink.write([seen(2)])
        broker.kill()
        broker.start()
        _write_until_done(sink, 2)
        with subscribed(broker, "#") as received:
            while received.get(timeout=PATIENCE_S)["id"] != seen(2).id:
                pass


def _write_until_done(sink: MqttSink, at: float) -> None:
    def written() -> bool:
        try:
            sink.write([seen(at)])
        except Unavailable:
            return False
        return True

    wait_until(written, "the broker takes it", PATIENCE_S)


@needs_mosquitto
def test_user_name_and_password_come_from_the_address_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passwords = tmp_path / "passwords"
    subprocess.run(
        [PASSWORDS, "-b", "-c", passwords, "us@er", "p/w"], check=True, capture_output=True
    )
    extra = f"allow_anonymous false\npassword_file {passwords}\n"
    with Mosquitto(tmp_path, extra) as broker:
        with sink_to(f"mqtt://us%40er:p%2Fw@{broker.place}/all?send=results") as sink:
            sink.write([seen(1)])
            assert sink.name == f"mqtt://{broker.place}/all"
        with sink_to(f"mqtt://us%40er:secret@{broker.place}/all?send=results") as sink:
            with pytest.raises(Refused, match="broker refuses") as raised:
                sink.write([seen(1)])
            assert "secret" not in str(raised.value)
        with sink_to(f"mqtt://us%40er:secret@{broker.place}/all", wait_s=0.1) as sink:
            # Before the first event.
            wait_until(lambda: _refuses(sink), "the wrong password is noticed", PATIENCE_S)
        monkeypatch.setenv("MQTT_USERNAME", "us@er")
        monkeypatch.setenv("MQTT_PASSWORD", "p/w")
        with sink_to(f"mqtt://{broker.place}/all?send=results") as sink:
            sink.write([seen(1)])


def _refuses(sink: MqttSink) -> bool:
    try:
        sink.write([])
    except Refused:
        return True
    return False


@needs_mosquitto
# The client forgets to close a socket whose handshake failed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_certificate_of_a_broker_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = make_certificate(tmp_path)
    extra = f"allow_anonymous true\nkeyfile {key}\ncertfile {certificate}\n"
    with Mosquitto(tmp_path, extra) as broker:
        address = f"mqtts://{broker.place}/all?send=results"
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        with (
            sink_to(address, wait_s=2) as sink,
            pytest.raises(Unavailable, match="certificate verify"),
        ):
            sink.write([seen(1)])
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with sink_to(address) as sink:
            sink.write([seen(1)])


@pytest.mark.parametrize(
    "address",
    [
        "mqtt://host",
        "mqtt://host/",
        "mqtt://host/a/#",
        "mqtt:///topic",
        "mqtt://host/topic?send=all",
        "mqtt://host/topic?sent=results",
        "mqtt://user:secret/1@host/topic",
    ],
)
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(BadAddress, match="expected") as raised:
        MqttSink(address)
    assert "secret" not in str(raised.value)
