"""How web answered pictures so far, from its metrics."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

from elastic_yolo.progress import counted

_ROUTE = 'route="/inference"'
_SAMPLE = re.compile(r"^elastic_yolo_(requests_total|request_duration_seconds_sum)\{(.*)\} (\S+)$")
_STATUS = re.compile(r'status="(\d+)"')
# Of services/common/core: the caller hung up before the response.
_CALLER_LEFT = 499


@dataclass(frozen=True)
class Answered:
    """Pictures by the status of their response, and the time of all of them."""

    counts: dict[int, int]
    seconds: float

    @property
    def pictures(self) -> int:
        """All pictures."""
        return sum(self.counts.values())

    @property
    def failed(self) -> int:
        """Pictures without status 200."""
        return self.pictures - self.counts.get(HTTPStatus.OK, 0)

    def state(self) -> str:
        """Return a few words: `12 pictures, 1 failed`."""
        text = counted(self.pictures, "picture")
        return f"{text}, {self.failed:,} failed" if self.failed else text

    def table(self) -> Sequence[str]:
        """Return the lines of a table by status."""
        if not self.pictures:
            return ["no pictures were sent"]
        names = {status: f"{status} {_phrase(status)}" for status in sorted(self.counts)}
        width = max(map(len, (*names.values(), "response")))
        mean_ms = f"mean {1000 * self.seconds / self.pictures:.0f} ms"
        return [
            f"{'response':<{width}}  pictures",
            *(f"{name:<{width}}  {self.counts[status]:>8,}" for status, name in names.items()),
            f"{'all':<{width}}  {self.pictures:>8,}  {mean_ms}",
        ]


def read_answered(metrics: str) -> Answered:
    """Return what web's metrics say about its route `/inference`."""
    counts: dict[int, int] = {}
    seconds = 0.0
    for line in metrics.splitlines():
        sample = _SAMPLE.match(line)
        if sample is None or _ROUTE not in sample[2]:
            continue
        status = _STATUS.search(sample[2])
        if status is None:
            seconds += float(sample[3])
        elif count := int(float(sample[3])):
            counts[int(status[1])] = counts.get(int(status[1]), 0) + count
    return Answered(counts, seconds)


def _phrase(status: int) -> str:
    if status == _CALLER_LEFT:
        return "caller left"
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
