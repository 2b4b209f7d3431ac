"""A consumer process: it keeps messages in hand until it is killed, or finishes them.

    python -m tests.stream.redis_consumer ADDRESS CLAIM_AFTER_S [SINK]

It prints the id and the deliveries of each message. With a sink, it writes a result for each, and
acknowledges; it repeats what fails, as the command does.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TypeVar

from elastic_yolo.stream.errors import Unavailable
from elastic_yolo.stream.redis.streams import RedisSink, RedisSource
from tests.stream.results import result_of

_Found = TypeVar("_Found")


def main(address: str, claim_after_s: str, sink_address: str | None = None) -> None:
    """Receive for ever."""
    source = RedisSource.open(address, float(claim_after_s))
    sink = RedisSink.open(sink_address) if sink_address else None
    while True:
        messages = _repeat(lambda: source.receive(10, 1))
        for message in messages:
            sys.stdout.write(f"{message.id} {message.deliveries}\n")
            sys.stdout.flush()
        if sink is not None:
            results = [result_of(one) for one in messages]
            _repeat(lambda results=results: sink.write(results))  # type: ignore[misc]
            _repeat(lambda messages=messages: source.acknowledge(messages))  # type: ignore[misc]


def _repeat(call: Callable[[], _Found]) -> _Found:
    while True:
        try:
            return call()
        except Unavailable:
            time.sleep(0.05)


if __name__ == "__main__":
    main(*sys.argv[1:])
