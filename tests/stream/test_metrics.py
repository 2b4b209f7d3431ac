"""The metrics and probes of a stream, over HTTP."""

from __future__ import annotations

import re
import socket
import struct
import time
from collections.abc import Iterator
from threading import Thread

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from elastic_yolo.lab.processes.stack import LOOPBACK, ROOT
from elastic_yolo.stream.metrics import Health, StreamMetrics, metrics_server

Exported = dict[str, tuple[str, frozenset[str]]]


@pytest.fixture
def served() -> Iterator[tuple[StreamMetrics, Health, str]]:
    metrics, health = StreamMetrics(), Health()
    server = metrics_server(metrics, health, 0)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
    yield metrics, health, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def documented() -> Exported:
    """Return type and labels of each metric of streams in docs/metrics.md."""
    rows = re.findall(
        r"^\| `(elastic_yolo_stream_\w+)` \| (\w+) \|([^|]*)\|",
        (ROOT / "docs" / "metrics.md").read_text(),
        re.MULTILINE,
    )
    return {name: (kind, frozenset(re.findall(r"\w+", labels))) for name, kind, labels in rows}


def exported(url: str) -> Exported:
    found: Exported = {}
    for family in text_string_to_metric_families(httpx.get(f"{url}/metrics").text):
        # The client library exports when each counter began; no page has it.
        if family.name.startswith("elastic_yolo_") and not family.name.endswith("_created"):
            labels = {label for one in family.samples for label in one.labels} - {"le"}
            name = family.name + ("_total" if family.type == "counter" else "")
            found[name] = (family.type, frozenset(labels))
    return found


def test_the_page_has_every_metric_with_its_type_and_labels(
    served: tuple[StreamMetrics, Health, str],
) -> None:
    metrics, _, url = served
    metrics.answered("yard", time.time())
    for one in (metrics.redelivered, metrics.dropped, metrics.lag):
        one.labels("yard")
    metrics.retries.labels("yard")

    assert exported(url) == documented()
    assert len(documented()) == 8


def test_the_age_is_that_of_the_newest_answered_picture(
    served: tuple[StreamMetrics, Health, str],
) -> None:
    metrics, _, url = served
    now = time.time()
    for added_at in (now - 100, now - 10, now - 50):
        metrics.answered("yard", added_at)

    text = httpx.get(f"{url}/metrics").text

    found = re.search(r'answered_age_seconds\{source="yard"\} (\S+)', text)
    assert found
    assert 10 <= float(found[1]) < 50


def test_a_picture_from_a_clock_that_is_ahead_does_not_hide_a_stream_that_hangs(
    served: tuple[StreamMetrics, Health, str],
) -> None:
    metrics, _, _ = served

    metrics.answered("yard", time.time() + 86_400)

    age = metrics.registry.get_sample_value(
        "elastic_yolo_stream_answered_age_seconds", {"source": "yard"}
    )
    assert age is not None
    assert age >= 0


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_a_cluster_with_ipv6_alone_reaches_the_probes(
    served: tuple[StreamMetrics, Health, str],
) -> None:
    _, _, url = served

    assert httpx.get(f"{url.replace('127.0.0.1', '[::1]')}/livez").text == "ok\n"


def test_a_scraper_that_breaks_off_leaves_nothing_in_the_log(
    served: tuple[StreamMetrics, Health, str], capfd: pytest.CaptureFixture[str]
) -> None:
    _, _, url = served
    port = httpx.URL(url).port or 0
    for _ in range(5):
        with socket.create_connection((LOOPBACK, port)) as scraper:
            scraper.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            # Closing sends a reset.
            linger = struct.pack("ii", 1, 0)
            scraper.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    assert httpx.get(f"{url}/livez").status_code == 200

    assert capfd.readouterr().err == ""


def test_the_probes_say_whether_the_loop_turns_and_the_sources_are_there(
    served: tuple[StreamMetrics, Health, str],
) -> None:
    _, health, url = served

    def status(path: str) -> int:
        return httpx.get(f"{url}{path}").status_code

    assert (status("/livez"), status("/readyz"), status("/other")) == (200, 503, 404)
    health.ready = True
    assert status("/readyz") == 200
    health.turned_at -= 61
    assert status("/livez") == 503
    health.turned()
    assert status("/livez") == 200
