"""The two ends of a stream: where pictures come from, and where results go.

A source is used by two threads: one receives, another acknowledges and rejects. A sink is used by
one thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from elastic_yolo.stream.message import Message, Result


class Source(Protocol):
    """Where pictures come from."""

    name: str
    """For logs and the label `source` of metrics, without credentials."""
    newest_only: bool
    """Whether pictures that nobody took in time are dropped, as a camera's: detection must not lag
    behind. Otherwise every picture is delivered, and waits."""

    def receive(self, most: int, wait_s: float) -> list[Message]:
        """Return at most `most` messages as soon as there is one, or none after `wait_s` seconds.

        Raises Unavailable, after which it can be called again, or Refused.
        """

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Note that the results of messages are written: they are not delivered again.

        Raises Unavailable or Refused.
        """

    def reject(self, message: Message, reason: str) -> None:
        """Put a message that cannot be processed where somebody can look at it, for ever.

        It is not delivered again. Raises Unavailable or Refused.
        """

    def lag(self) -> int | None:
        """Return how many messages are not acknowledged yet, None if the source cannot know.

        Raises Unavailable or Refused.
        """

    @property
    def dropped(self) -> int:
        """How many pictures were dropped since the start because a newer one came."""

    @property
    def finished(self) -> bool:
        """Whether no further message will come, as at the end of a video file."""

    def close(self) -> None:
        """Close connections and end threads; messages that are not acknowledged come again."""


class Sink(Protocol):
    """Where results go."""

    name: str
    """For logs and metrics, without credentials."""

    def write(self, results: Sequence[Result]) -> None:
        """Write results, and return when the other end has them for good.

        Raises Unavailable, after which the same results are written again, or Refused.
        """

    def close(self) -> None:
        """Close connections."""
