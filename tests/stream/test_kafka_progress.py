"""What is committed for a partition whose messages finish in any order, and after deaths."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic_yolo.stream.kafka.progress import Mark, PartitionProgress, parse_mark

TRIES = 3


class Broker:
    """Stores one partition, and what was committed for it."""

    def __init__(self, offsets: list[int]) -> None:
        """Begin without a commit."""
        self.offsets = offsets
        self.offset, self.metadata = 0, ""

    def commit(self, progress: PartitionProgress, mark: Mark | None) -> None:
        if mark is not None:
            self.offset, self.metadata = mark.offset, mark.metadata
            progress.committed(mark)

    def assign(self) -> PartitionProgress:
        return PartitionProgress(parse_mark(self.offset, self.metadata))


class Consumer:
    """One process, which delivers as KafkaSource does."""

    def __init__(self, broker: Broker) -> None:
        """Get the partition."""
        self.broker = broker
        self.progress = broker.assign()
        self.next = broker.offset
        self.in_hand: dict[int, int] = {}

    def receive(self) -> bool:
        """Deliver the next message, if one may be delivered."""
        if self.progress.has_suspects and self.in_hand:
            return False
        waiting = [one for one in self.broker.offsets if one >= self.next]
        if not waiting:
            return False
        self.next = waiting[0] + 1
        self.in_hand[waiting[0]] = self.progress.deliver(waiting[0])
        self.broker.commit(self.progress, self.progress.due())
        return True

    def finish(self, offset: int) -> None:
        del self.in_hand[offset]
        self.progress.finish(offset)
        self.broker.commit(self.progress, self.progress.due())

    def leave(self) -> None:
        self.broker.commit(self.progress, self.progress.give_back())


def gaps(lengths: list[int]) -> list[int]:
    """Return offsets with gaps, as compaction and transactions leave them."""
    offsets, offset = [], 0
    for length in lengths:
        offset += length
        offsets.append(offset)
    return offsets


def test_the_first_unfinished_message_is_committed_whatever_finished_after_it() -> None:
    broker = Broker(gaps([0, 1, 1]))
    consumer = Consumer(broker)
    while consumer.receive():
        pass
    consumer.finish(2)
    consumer.finish(1)
    assert broker.offset == 0
    consumer.finish(0)
    assert (broker.offset, broker.metadata) == (3, "")


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=40),
    st.lists(st.tuples(st.sampled_from(["receive", "finish", "die", "leave"]), st.integers(0, 99))),
)
def test_no_message_is_skipped_however_messages_finish_and_consumers_end(
    lengths: list[int], steps: list[tuple[str, int]]
) -> None:
    broker = Broker(gaps(lengths))
    consumer = Consumer(broker)
    finished: set[int] = set()
    for step, number in steps:
        if step == "receive":
            consumer.receive()
        elif step == "finish" and consumer.in_hand:
            offset = sorted(consumer.in_hand)[number % len(consumer.in_hand)]
            consumer.finish(offset)
            finished.add(offset)
        elif step in {"die", "leave"}:
            if step == "leave":
                consumer.leave()
            consumer = Consumer(broker)
        unfinished = set(broker.offsets) - finished
        assert broker.offset <= min(unfinished, default=broker.offset)
        assert len(broker.metadata) <= 4096
    # A last consumer finishes all the rest.
    while consumer.receive() or consumer.in_hand:
        for offset in list(consumer.in_hand):
            consumer.finish(offset)
            finished.add(offset)
    assert finished == set(broker.offsets)
    assert broker.offset > max(broker.offsets)


@given(st.integers(1, 30), st.integers(0, 29), st.integers(0, 2**32))
def test_a_poison_message_is_told_from_all_others_after_a_few_deaths(
    count: int, poison: int, seed: int
) -> None:
    broker, chance = Broker(list(range(count))), Random(seed)  # noqa: S311
    poison %= count
    finished: set[int] = set()
    rejected: set[int] = set()
    deaths = 0
    while broker.offset < count:
        consumer = Consumer(broker)
        while True:
            for _ in range(chance.randrange(1, 8)):
                consumer.receive()
            for offset, deliveries in list(consumer.in_hand.items()):
                if deliveries > TRIES:
                    consumer.finish(offset)
                    rejected.add(offset)
                elif offset != poison and chance.random() < 0.5:
                    consumer.finish(offset)
                    finished.add(offset)
            if poison in consumer.in_hand and chance.random() < 0.5:
                deaths += 1
                break
            if not consumer.in_hand and broker.offset == count:
                break
        assert deaths <= TRIES + 2
    assert rejected == {poison}
    assert finished == set(range(count)) - {poison}


def test_a_consumer_that_leaves_in_good_order_makes_no_suspects() -> None:
    broker = Broker([0, 1, 2])
    for _ in range(5):
        consumer = Consumer(broker)
        while consumer.receive():
            pass
        consumer.leave()
    assert (broker.offset, broker.metadata) == (0, "")


def test_leaving_while_there_are_suspects_keeps_them_and_their_count() -> None:
    broker = Broker([0, 1, 2])
    died = Consumer(broker)
    while died.receive():
        pass
    left = Consumer(broker)
    assert left.receive()
    left.leave()
    last = Consumer(broker)
    assert last.receive()
    assert not last.receive()
    assert last.in_hand == {0: 2}


def test_suspects_that_do_not_exist_are_suspects_no_more() -> None:
    progress = PartitionProgress(Mark(5, 1, 100))
    progress.limit_suspects(6)
    assert progress.has_suspects
    assert progress.deliver(5) == 2
    progress.finish(5)
    assert not progress.has_suspects
    assert progress.due() == Mark(6, 0, 6)
    assert progress.deliver(6) == 1


def test_a_steady_consumer_commits_only_when_the_first_message_finishes() -> None:
    broker = Broker(list(range(1000)))
    consumer = Consumer(broker)
    commits = 0
    for number in range(500):
        while len(consumer.in_hand) < 10:
            consumer.receive()
        before = broker.offset, broker.metadata
        consumer.finish(number)
        commits += (broker.offset, broker.metadata) != before
    assert broker.offset == 500
    assert commits <= 500


@pytest.mark.parametrize(
    "metadata", [None, "", "host-1", "tries=x to=9", "tries=1", "tries=² to=9", "tries=1 to=9\n"]
)
def test_text_of_other_programs_beside_an_offset_says_nothing(metadata: str | None) -> None:
    assert parse_mark(7, metadata) == Mark(7, 0, 7)


def test_what_is_committed_is_read_back() -> None:
    mark = Mark(7, 2, 40)
    assert mark.metadata == "tries=2 to=40"
    assert parse_mark(7, mark.metadata) == mark
    assert parse_mark(50, mark.metadata) == Mark(50, 2, 50)
