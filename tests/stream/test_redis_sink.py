"""Results into a Redis stream, with a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from elastic_yolo.stream.errors import Refused, Unavailable
from elastic_yolo.stream.redis.streams import RedisSink
from tests.stream.results import a_result
from tests.support.redis_server import RedisServer, redis_server


@pytest.fixture
def client(server: RedisServer) -> Iterator[Any]:
    with server.client as connected:
        connected.flushall()
        yield connected


def test_each_result_is_an_entry_with_its_id_and_its_json(server: RedisServer, client: Any) -> None:
    sink = RedisSink.open(server.address("stream=results"))
    results = [a_result("1"), a_result("ü \udcff")]
    sink.write(results)
    sink.close()
    entries = [fields for _, fields in client.xrange("results")]
    assert [one[b"id"].decode() for one in entries] == [one.id for one in results]
    assert [json.loads(one[b"result"]) for one in entries] == [one.to_json() for one in results]


def test_a_result_that_is_written_again_has_the_same_id(server: RedisServer, client: Any) -> None:
    sink = RedisSink.open(server.address("stream=results"))
    sink.write([a_result("1")])
    sink.write([a_result("1")])
    sink.close()
    assert len({fields[b"id"] for _, fields in client.xrange("results")}) == 1


def test_maxlen_keeps_about_that_many(server: RedisServer, client: Any) -> None:
    sink = RedisSink.open(server.address("stream=results&maxlen=100"))
    sink.write([a_result(str(number)) for number in range(1000)])
    sink.close()
    assert 100 <= client.xlen("results") < 300


def test_writing_nothing_is_no_error(server: RedisServer) -> None:
    sink = RedisSink.open(server.address("stream=results"))
    sink.write([])
    sink.close()


def test_a_key_of_another_type_is_refused_without_quoting_results(
    server: RedisServer, client: Any
) -> None:
    client.set("results", "text")
    sink = RedisSink.open(server.address("stream=results"))
    with pytest.raises(Refused, match="WRONGTYPE") as refused:
        sink.write([a_result("1")])
    sink.close()
    assert "bird" not in str(refused.value)


def test_results_are_written_again_after_a_restart(tmp_path: Path) -> None:
    with redis_server(tmp_path) as broken, broken.client as client:
        sink = RedisSink.open(broken.address("stream=results"))
        sink.write([a_result("1")])
        broken.kill()
        with pytest.raises(Unavailable):
            sink.write([a_result("2")])
        broken.start()
        sink.write([a_result("2")])
        sink.close()
        assert client.xlen("results") == 2
