"""Brokers that the tests of a module share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stream.kafka_brokers import Cluster, mock_cluster, tansu
from tests.support.redis_server import RedisServer, redis_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis server."""
    with redis_server(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture(scope="module")
def mock() -> Iterator[Cluster]:
    """The mock cluster of Kafka's client library."""
    with mock_cluster() as running:
        yield running


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A broker that speaks Kafka's protocol."""
    with tansu(tmp_path_factory.mktemp("tansu")) as running:
        yield running


@pytest.fixture(params=["mock", "broker"])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """Each of both."""
    found: Cluster = request.getfixturevalue(request.param)
    return found
