"""The consumers of a stream with modelled pods, scaled on the stream's lag.

As in `simulate`, a fluid model in steps of one second. Pictures that no pod has taken yet wait in
the stream, however many they are: their number is the lag. Nothing is rejected.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

from elastic_yolo.lab.autoscaler.keda import Activator
from elastic_yolo.lab.autoscaler.spec import Controller
from elastic_yolo.lab.autoscaler.stream import StreamTier
from elastic_yolo.lab.load.arrivals import Arrivals
from elastic_yolo.lab.simulate import TierTotals, Work, activate, external, start_model, whole
from elastic_yolo.lab.timeline import Sample


@dataclass(frozen=True)
class StreamTotals:
    """The whole run."""

    tiers: tuple[TierTotals, ...]
    pictures: int
    unanswered: int
    """Pictures that waited in the stream at the end."""
    largest_lag: int
    longest_wait_s: float
    """The longest time that a picture waited in the stream."""


def simulate_stream(
    stream: StreamTier,
    work: Work,
    arrivals: Arrivals,
    controller: Controller,
    record: Callable[[Sample], None],
) -> StreamTotals:
    """Run the consumers of a stream; `record` gets a sample of every sync, and of KEDA's changes.

    The samples' times are seconds since the start, when there are minReplicas pods, at least one.
    """
    model = start_model(stream.tier, work, controller)
    model.activator = Activator(stream.keda) if stream.keda else None
    # The pictures that came until each second.
    came = [0.0]
    largest = oldest_s = 0.0
    for second in range(round(arrivals.duration_s)):
        now, lag = float(second), whole(model.waiting)
        model.scrape(now)
        if sample := activate(model, now, lag):
            record(sample)
        if second and now % controller.sync_period_s < 1:
            record(model.sync(now, external(stream.tier, lag)))
        came.append(came[-1] + arrivals.rate(now))
        model.serve(arrivals.rate(now), now)
        largest = max(largest, model.waiting)
        oldest_s = max(oldest_s, _age_s(came, model.waiting))
    return StreamTotals(
        (model.totals(),),
        round(came[-1]),
        whole(model.waiting),
        whole(largest),
        round(oldest_s, 1),
    )


def _age_s(came: list[float], waiting: float) -> float:
    """Return how long the picture that is taken next has waited."""
    if whole(waiting) == 0:
        return 0.0
    return float(len(came) - bisect_right(came, came[-1] - waiting))
