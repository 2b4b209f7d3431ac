"""A topic of an MQTT broker as a sink for events, or results."""

from __future__ import annotations

import json
import logging
import os
import ssl
import sys
import time
from collections.abc import Sequence
from threading import Condition
from typing import Any
from urllib.parse import SplitResult, unquote

from paho.mqtt.client import Client, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from elastic_yolo.stream.errors import BadAddress, Refused, Unavailable
from elastic_yolo.stream.message import Result
from elastic_yolo.stream.sinks.events import Outbox
from elastic_yolo.stream.urls import read_options, split_url

SCHEMES = ("mqtt", "mqtts")
_EXAMPLE = "mqtt://[user:password@]host[:port]/topic, or mqtts://"
_PORTS = {"mqtt": 1883, "mqtts": 8883}
_LOG = logging.getLogger(__name__)
_QOS = 1
_WAIT_S = 10.0
_LOOK_S = 0.2
_MOST_BACKOFF_S = 30
# "Bad user name or password", "not authorized", "bad authentication method".
_LOGIN_CODES = frozenset({134, 135, 140})


class MqttSink:
    """Publishes one message for each event with QoS 1, and waits until the broker has it.

    With `?send=results`, one for each result. MQTT 3.1.1; with mqtts the broker's certificate is
    checked. MQTT_USERNAME and MQTT_PASSWORD are used if the address has no user name.
    """

    def __init__(self, address: str, debounce_s: float = 1.0, *, wait_s: float = _WAIT_S) -> None:
        """Begin to connect; `write` waits `wait_s` for the broker. Raises BadAddress."""
        parts = split_url(address, SCHEMES, _EXAMPLE)
        send = read_options(parts, {"send": ("events", "results")}).get("send")
        port = parts.port or _PORTS[parts.scheme]
        self._topic = unquote(parts.path.removeprefix("/"))
        if not self._topic or set(self._topic) & set("+#\0") or "#" in address:
            raise BadAddress(f"expected {_EXAMPLE}; the topic has no + and no #")
        self.name = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/{self._topic}"
        self._wait_s = wait_s
        self._outbox = Outbox(send, debounce_s)
        self._changed = Condition()
        self._connected = False
        self._refused: str | None = None
        self._reason = ""
        self._published: list[MQTTMessageInfo] = []
        self._client = self._make_client(parts)
        self._client.connect_async(str(parts.hostname), port)
        self._client.loop_start()

    def write(self, results: Sequence[Result]) -> None:
        """Publish what the results add, if anything; raises Unavailable or Refused.

        If the connection breaks before the broker confirmed a message, the client sends it again by
        itself; the next call waits for that.
        """
        self._require_login()
        items = self._outbox.add(results)
        until = time.monotonic() + self._wait_s
        for item in items[len(self._published) :]:
            self._wait_connected(until)
            info = self._client.publish(self._topic, json.dumps(item).encode(), qos=_QOS)
            if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
                raise Unavailable(f"{self.name}: the connection broke")
            self._published.append(info)
        while self._published:
            self._wait_confirmed(self._published[0], until)
            del self._published[0]
            self._outbox.remove(1)

    def close(self) -> None:
        """Close the connection."""
        self._client.disconnect()
        self._client.loop_stop()

    def _make_client(self, parts: SplitResult) -> Client:
        client = Client(CallbackAPIVersion.VERSION2)
        username = unquote(parts.username or "") or os.environ.get("MQTT_USERNAME")
        password = unquote(parts.password or "") or os.environ.get("MQTT_PASSWORD")
        if username:
            client.username_pw_set(username, password)
        if parts.scheme == "mqtts":
            client.tls_set_context(ssl.create_default_context())
        client.reconnect_delay_set(1, _MOST_BACKOFF_S)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        return client

    def _wait_connected(self, until: float) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: self._connected or self._refused, until - time.monotonic()
            )
            self._require_login()
            if not self._connected:
                raise Unavailable(
                    f"{self.name}: no connection within {self._wait_s:g} s{self._reason}"
                )

    def _wait_confirmed(self, info: MQTTMessageInfo, until: float) -> None:
        while not info.is_published():
            self._require_login()
            left_s = until - time.monotonic()
            if left_s <= 0:
                raise Unavailable(f"{self.name}: no confirmation within {self._wait_s:g} s")
            info.wait_for_publish(min(left_s, _LOOK_S))

    def _require_login(self) -> None:
        if self._refused:
            raise Refused(f"{self.name}: the broker refuses: {self._refused}")

    def _on_connect(
        self, client: Client, data: Any, flags: Any, code: ReasonCode, more: Any
    ) -> None:
        del client, data, flags, more
        with self._changed:
            self._connected = not code.is_failure
            self._refused = str(code) if code.value in _LOGIN_CODES else None
            self._reason = ""
            self._changed.notify_all()

    def _on_connect_fail(self, *_: Any) -> None:
        # The client calls this where it handles the exception, and does not pass it on.
        reason = f": {sys.exception()}"
        if reason != self._reason:
            _LOG.warning("%s: no connection yet%s", self.name, reason)
        self._reason = reason

    def _on_disconnect(self, *_: Any) -> None:
        with self._changed:
            self._connected = False
