"""Pictures from a Redis stream, with a real server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from elastic_yolo.lab.processes.stack import ROOT
from elastic_yolo.stream.errors import BadAddress, Refused, Unavailable
from elastic_yolo.stream.message import Message
from elastic_yolo.stream.redis.group import ConsumerGroup
from elastic_yolo.stream.redis.streams import MOST_DEAD_LETTERS, RedisSource
from tests.support.redis_server import RedisServer, redis_server
from tests.support.waiting import wait_until

NEVER_S = 3600.0
SOON_S = 0.2


@pytest.fixture
def client(server: RedisServer) -> Iterator[Any]:
    with server.client as connected:
        yield connected


@pytest.fixture
def stream() -> str:
    return f"pictures-{uuid4().hex}"


Open = Callable[..., RedisSource]


@pytest.fixture
def opened(server: RedisServer, stream: str) -> Iterator[Open]:
    """Opens sources of the test's stream, and closes them at the end."""
    sources: list[RedisSource] = []

    def open_source(claim_after_s: float = NEVER_S, further: str = "") -> RedisSource:
        address = server.address(f"stream={stream}&group=detect{further}")
        sources.append(RedisSource.open(address, claim_after_s))
        return sources[-1]

    yield open_source
    for source in sources:
        source.close()


def receive(source: RedisSource, count: int, most: int = 100) -> list[Message]:
    """Return so many messages, in the order in which they came."""
    found: list[Message] = []
    wait_until(
        lambda: bool(found.extend(source.receive(most, 0.5)) or len(found) >= count),
        f"{count} messages",
    )
    return found


def pending(client: Any, stream: str) -> int:
    return int(client.xpending(stream, "detect")["pending"])


def consumers(client: Any, stream: str) -> list[str]:
    return [one["name"].decode() for one in client.xinfo_consumers(stream, "detect")]


@contextmanager
def consumer_process(server: RedisServer, stream: str, claim_after_s: float) -> Iterator[Any]:
    """Run a process that receives and never acknowledges."""
    address = server.address(f"stream={stream}&group=detect")
    command = [sys.executable, "-m", "tests.stream.redis_consumer", address, str(claim_after_s)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


def test_a_message_has_the_picture_the_other_fields_and_the_time_it_was_added(
    opened: Open, client: Any, stream: str
) -> None:
    before = time.time()
    added = client.xadd(stream, {"picture": b"\xff\xd8\x00", "camera": "gate ü", "frame": "7"})
    (message,) = opened().receive(10, 5)
    assert message.id == added.decode()
    assert message.picture == b"\xff\xd8\x00"
    assert message.fields == {"camera": "gate ü", "frame": "7"}
    assert before - 1 < message.added_at < time.time() + 1
    assert message.deliveries == 1


def test_pictures_that_were_added_before_the_group_existed_are_delivered(
    opened: Open, client: Any, stream: str
) -> None:
    for number in range(3):
        client.xadd(stream, {"picture": b"%d" % number})
    assert [one.picture for one in receive(opened(), 3)] == [b"0", b"1", b"2"]


def test_no_more_is_received_than_asked_for(opened: Open, client: Any, stream: str) -> None:
    for number in range(5):
        client.xadd(stream, {"picture": b"%d" % number})
    source = opened()
    assert len(source.receive(2, 5)) == 2
    assert len(source.receive(2, 5)) == 2


def test_receiving_from_an_empty_stream_returns_nothing_after_the_wait(opened: Open) -> None:
    before = time.monotonic()
    assert opened().receive(10, 0.2) == []
    assert time.monotonic() - before >= 0.2


def test_two_consumers_of_a_group_share_the_messages(
    opened: Open, client: Any, stream: str
) -> None:
    for number in range(6):
        client.xadd(stream, {"picture": b"%d" % number})
    one, other = opened(), opened()
    found = [message.id for source in (one, other, one) for message in source.receive(2, 5)]
    assert len(set(found)) == 6


def test_acknowledged_messages_are_pending_no_more(opened: Open, client: Any, stream: str) -> None:
    for number in range(3):
        client.xadd(stream, {"picture": b"%d" % number})
    source = opened()
    first, *others = receive(source, 3)
    source.acknowledge(others)
    assert pending(client, stream) == 1
    source.acknowledge([first])
    assert pending(client, stream) == 0


@pytest.mark.parametrize("fields", [{"image": b"x"}, {"picture": b""}])
def test_a_message_without_a_picture_arrives_with_an_empty_one_and_can_be_rejected(
    opened: Open, client: Any, stream: str, fields: dict[str, bytes]
) -> None:
    client.xadd(stream, fields)
    source = opened()
    (message,) = source.receive(10, 5)
    assert message.picture == b""
    source.reject(message, "no picture")
    assert client.xlen(f"{stream}:dead") == 1
    assert pending(client, stream) == 0


def test_fields_that_are_no_text_are_delivered_with_replacement_characters(
    opened: Open, client: Any, stream: str
) -> None:
    client.xadd(stream, {b"picture": b"x", b"\xff": b"\xfe"})
    (message,) = opened().receive(10, 5)
    assert message.fields == {"�": "�"}


def test_a_dead_letter_keeps_the_picture_and_says_why(
    opened: Open, client: Any, stream: str
) -> None:
    content = bytes(range(256)) * 1000
    client.xadd(stream, {b"picture": content, b"camera": b"\xfe"})
    source = opened()
    (message,) = source.receive(10, 5)
    source.reject(message, "not a picture \udcff")
    ((_, dead),) = client.xrange(f"{stream}:dead")
    assert dead == {
        b"picture": content,
        b"camera": b"\xfe",
        b"reason": b"not a picture ?",
        b"original-id": message.id.encode(),
        b"deliveries": b"1",
    }
    assert pending(client, stream) == 0
    assert source.receive(10, 0.1) == []


def test_the_oldest_dead_letters_go_when_there_are_too_many(
    opened: Open, client: Any, stream: str
) -> None:
    with client.pipeline() as pipeline:
        for _ in range(MOST_DEAD_LETTERS + 300):
            pipeline.xadd(f"{stream}:dead", {"picture": b"x"})
        pipeline.execute()
    client.xadd(stream, {"picture": b"last"})
    source = opened()
    (message,) = source.receive(10, 5)
    source.reject(message, "it does not decode")
    # Redis removes whole nodes of its tree, of 100 entries.
    assert MOST_DEAD_LETTERS <= client.xlen(f"{stream}:dead") < MOST_DEAD_LETTERS + 100
    ((_, newest),) = client.xrevrange(f"{stream}:dead", count=1)
    assert newest[b"picture"] == b"last"


def test_a_dead_letter_that_cannot_be_added_is_not_acknowledged(
    opened: Open, client: Any, stream: str
) -> None:
    client.xadd(stream, {"picture": b"x"})
    client.set(f"{stream}:dead", "not a stream")
    source = opened()
    (message,) = source.receive(10, 5)
    with pytest.raises(Refused, match="WRONGTYPE"):
        source.reject(message, "it does not decode")
    assert pending(client, stream) == 1


def test_messages_of_a_killed_process_come_again_to_another_with_their_count(
    server: RedisServer, opened: Open, client: Any, stream: str
) -> None:
    for number in range(3):
        client.xadd(stream, {"picture": b"%d" % number})
    with consumer_process(server, stream, NEVER_S) as process:
        ids = [process.stdout.readline().split()[0] for _ in range(3)]
        process.send_signal(signal.SIGKILL)
    source = opened(SOON_S)
    for expected in ids:
        (message,) = receive(source, 1)
        assert (message.id, message.deliveries) == (expected, 2)
        source.acknowledge([message])
    assert source.lag() == 0


def test_a_picture_that_kills_each_consumer_is_delivered_with_a_growing_count(
    server: RedisServer, opened: Open, client: Any, stream: str
) -> None:
    client.xadd(stream, {"picture": b"poison"})
    for deliveries in ("1", "2", "3"):
        with consumer_process(server, stream, SOON_S) as process:
            assert process.stdout.readline().split()[1] == deliveries
            process.send_signal(signal.SIGKILL)
    (message,) = receive(opened(SOON_S), 1)
    assert message.deliveries == 4


def test_messages_are_taken_over_one_at_a_time_so_that_poison_is_told_from_its_neighbours(
    server: RedisServer, opened: Open, client: Any, stream: str
) -> None:
    for number in range(4):
        client.xadd(stream, {"picture": b"%d" % number})
    with consumer_process(server, stream, NEVER_S) as process:
        for _ in range(4):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    source = opened(SOON_S)
    (first,) = receive(source, 1)
    client.xadd(stream, {"picture": b"new"})
    # New ones come meanwhile.
    (new,) = source.receive(10, 5)
    assert (new.picture, new.deliveries) == (b"new", 1)
    assert source.receive(10, 0.3) == []
    source.acknowledge([first])
    (second,) = receive(source, 1)
    assert (second.picture, second.deliveries) == (b"1", 2)


def test_messages_of_a_stopped_process_are_taken_over_and_its_late_acknowledgement_is_no_error(
    server: RedisServer, opened: Open, client: Any, stream: str
) -> None:
    client.xadd(stream, {"picture": b"x"})
    with consumer_process(server, stream, SOON_S) as process:
        identity = process.stdout.readline().split()[0]
        os.kill(process.pid, signal.SIGSTOP)
        source = opened(SOON_S)
        (message,) = receive(source, 1)
        assert message.id == identity
        source.acknowledge([message])
        source.acknowledge([message])


@pytest.mark.long
def test_a_message_that_takes_long_stays_with_its_consumer(
    opened: Open, client: Any, stream: str
) -> None:
    client.xadd(stream, {"picture": b"slow"})
    # Long enough for the thread that keeps it alive, on a busy machine.
    slow, other = opened(2.0), opened(2.0)
    (message,) = receive(slow, 1)
    assert other.receive(10, 5.0) == []
    slow.acknowledge([message])
    assert pending(client, stream) == 0


def test_a_claim_after_a_lost_reply_gets_the_consumers_own_message_again(
    opened: Open, client: Any, stream: str
) -> None:
    client.xadd(stream, {"picture": b"x"})
    source = opened(SOON_S)
    assert source.receive(10, 0.01) != []
    (name,) = consumers(client, stream)
    client.xadd(stream, {"picture": b"lost"})
    # As if the connection had broken after the server sent the reply.
    client.xreadgroup("detect", name, {stream: ">"})
    (message,) = receive(source, 1)
    assert (message.picture, message.deliveries) == (b"lost", 2)


def test_what_is_in_hand_when_a_source_closes_is_taken_at_once_and_not_counted(
    opened: Open, client: Any, stream: str
) -> None:
    client.xadd(stream, {"picture": b"x"})
    drained = opened(NEVER_S)
    receive(drained, 1)
    drained.close()
    (message,) = receive(opened(NEVER_S), 1)
    assert message.deliveries == 1


def test_a_source_that_closes_with_nothing_in_hand_leaves_no_consumer(
    opened: Open, client: Any, stream: str
) -> None:
    client.xadd(stream, {"picture": b"x"})
    source = opened()
    source.acknowledge(receive(source, 1))
    assert len(consumers(client, stream)) == 1
    source.close()
    assert consumers(client, stream) == []


def test_consumers_that_are_gone_and_have_nothing_are_removed_but_those_with_messages_stay(
    opened: Open, client: Any, stream: str
) -> None:
    client.xgroup_create(stream, "detect", id="0", mkstream=True)
    for number in range(50):
        client.xgroup_createconsumer(stream, "detect", f"pod-{number}")
    client.xadd(stream, {"picture": b"x"})
    client.xreadgroup("detect", "pod-0", {stream: ">"})
    source = opened(SOON_S)
    held = receive(source, 1)

    def only_two_consumers() -> bool:
        source.receive(10, 0.05)
        return len(consumers(client, stream)) <= 2

    wait_until(only_two_consumers, "the consumers that are gone are removed")
    assert [one.deliveries for one in held] == [2]
    assert pending(client, stream) == 1


def test_entries_that_were_deleted_while_they_were_pending_are_passed_over(
    opened: Open, client: Any, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    deleted = client.xadd(stream, {"picture": b"deleted"})
    client.xadd(stream, {"picture": b"kept"})
    client.xgroup_create(stream, "detect", id="0")
    client.xreadgroup("detect", "dead", {stream: ">"})
    client.xdel(stream, deleted)
    source = opened(SOON_S)
    (message,) = receive(source, 1)
    assert message.picture == b"kept"
    assert pending(client, stream) == 1
    assert deleted.decode() in caplog.text


def test_a_message_whose_entry_was_trimmed_while_in_hand_can_be_acknowledged_and_rejected(
    opened: Open, client: Any, stream: str
) -> None:
    for _ in range(2):
        client.xadd(stream, {"picture": b"x"})
    source = opened()
    first, second = receive(source, 2)
    client.xtrim(stream, maxlen=0)
    source.acknowledge([first])
    source.reject(second, "it does not decode")
    ((_, dead),) = client.xrange(f"{stream}:dead")
    assert dead[b"picture"] == b"x"
    assert source.lag() == 0


def test_a_group_that_is_deleted_under_a_consumer_is_created_again_from_the_start(
    opened: Open, client: Any, stream: str
) -> None:
    client.xadd(stream, {"picture": b"0"})
    client.xadd(stream, {"picture": b"1"})
    source = opened()
    done, held = receive(source, 2)
    source.acknowledge([done])
    client.xgroup_destroy(stream, "detect")
    # What is stored is delivered again, but not what is still in hand.
    assert [one.picture for one in receive(source, 1)] == [b"0"]
    source.acknowledge([held])
    assert pending(client, stream) == 1


def test_a_stream_that_is_deleted_while_a_consumer_waits_is_created_again(
    opened: Open, client: Any, stream: str
) -> None:
    source = opened()
    source.receive(10, 0.01)
    client.delete(stream)
    assert source.receive(10, 0.01) == []
    client.xadd(stream, {"picture": b"x"})
    assert len(receive(source, 1)) == 1


def test_the_lag_counts_entries_that_wait_and_those_in_hand(
    opened: Open, client: Any, stream: str
) -> None:
    source = opened()
    assert source.lag() == 0
    for number in range(10):
        client.xadd(stream, {"picture": b"%d" % number})
    assert source.lag() == 10
    some = source.receive(4, 5)
    assert source.lag() == 10
    source.acknowledge(some)
    assert source.lag() == 6


def test_the_lag_is_none_only_while_deleted_entries_are_among_those_that_wait(
    opened: Open, client: Any, stream: str
) -> None:
    ids = [client.xadd(stream, {"picture": b"%d" % number}) for number in range(6)]
    source = opened()
    source.acknowledge(source.receive(2, 5))
    client.xdel(stream, ids[3])
    assert source.lag() is None
    source.acknowledge(receive(source, 3))
    assert source.lag() == 0


def test_the_lag_is_known_when_the_group_has_not_begun_whatever_was_deleted(
    opened: Open, client: Any, stream: str
) -> None:
    ids = [client.xadd(stream, {"picture": b"%d" % number}) for number in range(6)]
    client.xdel(stream, ids[3])
    source = opened()
    client.xgroup_create(stream, "detect", id="0")
    assert source.lag() == 5


def test_the_name_is_the_same_for_every_consumer_and_has_no_credentials(
    server: RedisServer,
) -> None:
    names = set()
    for credentials in ("", "user:secret@"):
        source = RedisSource.open(server.address("stream=p", credentials), NEVER_S)
        names.add(source.name)
        source.close()
    assert names == {f"redis://127.0.0.1:{server.port}/0?stream=p"}


def test_a_key_of_another_type_is_refused(opened: Open, client: Any, stream: str) -> None:
    client.set(stream, "text")
    with pytest.raises(Refused, match="WRONGTYPE"):
        opened().receive(10, 0.1)


def test_a_server_that_is_not_there_is_unavailable_and_works_when_it_comes(
    tmp_path: Path,
) -> None:
    with redis_server(tmp_path) as late:
        address = late.address("stream=p")
        late.kill()
        source = RedisSource.open(address, NEVER_S)
        try:
            for call in (lambda: source.receive(1, 0.1), source.lag):
                with pytest.raises(Unavailable, match=str(late.port)):
                    call()
            late.start()
            assert source.receive(1, 0.01) == []
        finally:
            source.close()


def test_a_restarted_server_goes_on_with_what_was_pending_and_what_waited(tmp_path: Path) -> None:
    with redis_server(tmp_path) as broken, broken.client as client:
        for number in range(4):
            client.xadd("p", {"picture": b"%d" % number})
        source = RedisSource.open(broken.address("stream=p"), NEVER_S)
        try:
            held = source.receive(2, 5)
            broken.kill()
            with pytest.raises(Unavailable):
                source.acknowledge(held)
            broken.start()
            source.acknowledge(held)
            assert [one.picture for one in source.receive(10, 5)] == [b"2", b"3"]
            assert source.lag() == 2
        finally:
            source.close()


def test_a_server_that_lost_its_data_is_used_anew(tmp_path: Path) -> None:
    with redis_server(tmp_path, {"appendonly": "no"}) as broken, broken.client as client:
        client.xadd("p", {"picture": b"before"})
        source = RedisSource.open(broken.address("stream=p"), NEVER_S)
        try:
            held = source.receive(2, 5)
            broken.kill()
            broken.start()
            source.acknowledge(held)
            client.xadd("p", {"picture": b"after"})
            assert [one.picture for one in source.receive(10, 5)] == [b"after"]
        finally:
            source.close()


def test_with_trim_what_every_group_has_acknowledged_is_deleted(
    client: Any, stream: str, opened: Open
) -> None:
    """Not what waits, is in hand, or another group has not acknowledged."""
    ids = [client.xadd(stream, {"picture": b"x"}).decode() for _ in range(10)]
    client.xgroup_create(stream, "archive", id="0")

    def left() -> list[str]:
        return [one.decode() for one, _ in client.xrange(stream)]

    source = opened()
    found = receive(source, 6, most=6)
    source.acknowledge([one for one in found if one.id != ids[4]])
    group = ConsumerGroup(client, stream, "detect", "janitor")
    group.trim()
    assert left() == ids

    client.xreadgroup("archive", "reader", {stream: ">"}, count=3)
    client.xack(stream, "archive", *ids[:2])
    group.trim()
    assert left() == ids[2:]

    client.xgroup_destroy(stream, "archive")
    group.trim()
    assert left() == ids[4:]
    assert source.lag() == 5


def test_a_source_with_trim_leaves_nothing_of_what_it_answered(
    client: Any, stream: str, opened: Open
) -> None:
    for _ in range(3):
        client.xadd(stream, {"picture": b"x"})
    first = opened()
    first.acknowledge(receive(first, 3))

    opened(further="&trim=answered").receive(1, 0)

    assert client.xlen(stream) == 0


def test_trimming_a_stream_that_does_not_exist_does_nothing(client: Any, stream: str) -> None:
    ConsumerGroup(client, stream, "detect", "janitor").trim()

    assert not client.exists(stream)


def test_without_trim_acknowledged_entries_stay(client: Any, stream: str, opened: Open) -> None:
    for _ in range(3):
        client.xadd(stream, {"picture": b"x"})
    source = opened()

    source.acknowledge(receive(source, 3))
    source.receive(1, 0)

    assert client.xlen(stream) == 3


def test_trim_has_one_value(server: RedisServer, stream: str) -> None:
    with pytest.raises(BadAddress, match="trim is not answered"):
        RedisSource.open(server.address(f"stream={stream}&trim=yes"), NEVER_S)
