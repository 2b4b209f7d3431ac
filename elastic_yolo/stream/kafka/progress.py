"""How far a consumer is in one partition of a Kafka topic.

Messages finish in any order, and Kafka stores one offset for each partition and group: the next
message to deliver. So the offset of the first message that is not finished is committed.

Kafka does not count deliveries. The text that it stores beside the offset does: `tries=2 to=1042`
says that the message at the offset was delivered twice, and that those before 1042 may have been
delivered too. A consumer that finds this text knows that another one died. It delivers these
messages, the *suspects*, one at a time: only the one that ends the process gets a higher count.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_METADATA = re.compile(r"tries=(\d{1,9}) to=(\d{1,19})", re.ASCII)
# How many more messages are delivered before the next commit for the text's sake. After a death
# they are suspects as well, so it is not higher.
RESERVED = 32


@dataclass(frozen=True)
class Mark:
    """What a commit stores.

    Delivery goes on at `offset`; that message was delivered `tries` times, and those before `to`
    may have been delivered.
    """

    offset: int
    tries: int
    to: int

    @property
    def metadata(self) -> str:
        """The text beside the offset; empty if no message is suspect."""
        return f"tries={self.tries} to={self.to}" if self.to > self.offset else ""


def parse_mark(offset: int, metadata: str | None) -> Mark:
    """Return what the last commit says; text of other programs says nothing."""
    found = _METADATA.fullmatch(metadata or "")
    tries, to = map(int, found.groups()) if found else (0, offset)
    return Mark(offset, tries, max(to, offset))


class PartitionProgress:
    """The messages of a partition that were delivered to this process since it got the partition.

    Callers use a lock.
    """

    def __init__(self, found: Mark) -> None:
        """Begin where the last commit of the group says."""
        self._found = found
        self.last_commit = found
        self._position = found.offset
        self._open: dict[int, int] = {}
        self.lost = False
        """Whether another process has the partition: its messages need no commits any more."""

    @property
    def in_hand(self) -> int:
        """How many messages are delivered and not finished."""
        return len(self._open)

    @property
    def lowest(self) -> int:
        """The offset of the first message that is not finished."""
        return min(self._open, default=self._position)

    @property
    def has_suspects(self) -> bool:
        """Whether suspects are still to be delivered, or in hand."""
        return self._position < self._found.to or any(map(self.is_suspect, self._open))

    def is_suspect(self, offset: int) -> bool:
        """Return whether an earlier process may have died of this message."""
        return offset < self._found.to

    def limit_suspects(self, to: int) -> None:
        """Note that no undelivered message from `to` on is suspect: there are none yet."""
        to = min(self._found.to, max(to, self._position))
        self._found = Mark(self._found.offset, self._found.tries, to)

    def deliver(self, offset: int) -> int:
        """Note that a message is delivered; returns how often it was, this time included."""
        deliveries = 1
        if self.is_suspect(offset):
            # The count is that of the first message.
            is_first = self._position <= self._found.offset
            deliveries += self._found.tries if is_first else 1
        self._open[offset] = deliveries
        self._position = max(self._position, offset + 1)
        return deliveries

    def finish(self, offset: int) -> None:
        """Note that a message needs no further delivery."""
        self._open.pop(offset, None)

    def due(self) -> Mark | None:
        """Return what to commit; None if the last commit still says enough.

        Commit it before a message that was just delivered is processed, and after messages
        finished.
        """
        first, last = self.lowest, self.last_commit
        tries = self._open.get(first, self._tries_of_next())
        if (first, tries) == (last.offset, last.tries) and self._position <= last.to:
            return None
        if not self._open:
            return Mark(first, tries, max(first, self._found.to))
        reserved = 0 if self.has_suspects else RESERVED
        return Mark(first, tries, max(self._position + reserved, self._found.to))

    def committed(self, mark: Mark) -> None:
        """Note that a commit succeeded."""
        self.last_commit = mark

    def give_back(self) -> Mark:
        """Return what to commit when the process leaves the partition in good order.

        Deliveries to this process that are not finished do not count.
        """
        first = self.lowest
        tries = self._open[first] - 1 if self._open else self._tries_of_next()
        to = self._found.to if self.has_suspects else first
        return Mark(first, tries, max(to, first + 1 if tries else first))

    def _tries_of_next(self) -> int:
        """Return how often the next message may have been delivered before."""
        if not self.is_suspect(self._position):
            return 0
        return self._found.tries if self._position <= self._found.offset else 1
