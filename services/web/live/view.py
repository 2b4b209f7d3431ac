"""What viewers get: the processes by tier, the totals, and the autoscalers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from elastic_yolo.tiers import TIERS
from services.common.observe.telemetry import SECONDS_BUCKETS
from services.web.live.autoscalers import Scaler
from services.web.live.fleet import Change, Fleet, card_to_json, count_statuses
from services.web.live.rates import Step, quantile_ms

# Polls whose requests count for quantiles and statuses: ten seconds.
_KEPT_STEPS = 20
# Polls of which viewers see a point in the curves: two minutes.
_KEPT_POINTS = 240
_KEPT_CHANGES = 200


class View:
    """The state of everything, with the recent past, for viewers that come later."""

    def __init__(self, *, may_load: bool) -> None:
        """Start with no process."""
        self._fleet = Fleet()
        self._steps: deque[list[Step]] = deque(maxlen=_KEPT_STEPS)
        self._points: deque[dict[str, Any]] = deque(maxlen=_KEPT_POINTS)
        self._log: deque[Change] = deque(maxlen=_KEPT_CHANGES)
        self._scalers: dict[str, Scaler] = {}
        self._may_load = may_load
        self._at = 0.0

    @property
    def fleet(self) -> Fleet:
        """The processes."""
        return self._fleet

    def note(self, now: float, changes: list[Change], scalers: dict[str, Scaler]) -> list[Change]:
        """Take what the fleet has changed, and the autoscalers; return all changes."""
        # First, because the processes follow it.
        changes = [*self._note_scalers(now, scalers), *changes]
        self._log.extend(changes)
        self._steps.append(self._fleet.steps)
        self._at = now
        self._points.append(self._point())
        return changes

    def _note_scalers(self, now: float, scalers: dict[str, Scaler]) -> Iterator[Change]:
        for name, scaler in scalers.items():
            before = self._scalers.get(name)
            if before is not None and before.desired != scaler.desired:
                text = f"wants {scaler.desired} instead of {before.desired}"
                why = f": {scaler.why}" if scaler.why else ""
                yield Change(now, name, f"autoscaler of {name}", "scaled", text + why)
        self._scalers = scalers

    def tick(self, changes: list[Change]) -> dict[str, Any]:
        """Return how things are now, and what has changed since the last tick."""
        return {
            **self._now(),
            "point": self._points[-1],
            "changes": [one.to_json() for one in changes],
        }

    def snapshot(self) -> dict[str, Any]:
        """Return how things are, with what has happened in the last minutes."""
        return {
            **self._now(),
            "points": list(self._points),
            "changes": [one.to_json() for one in self._log],
        }

    def _now(self) -> dict[str, Any]:
        cards = self._fleet.cards
        tiers = {}
        for tier in TIERS:
            own = [one for one in cards if one.process.service == tier]
            rate = sum(one.rate for one in own)
            scaler = self._scalers.get(tier)
            tiers[tier] = {
                "rate": round(rate, 2),
                "cards": [card_to_json(one, rate) for one in own],
                "autoscaler": None if scaler is None else scaler.to_json(),
            }
        loads = [one.process for one in cards if one.process.load_rate]
        return {
            "at": self._at,
            "tiers": tiers,
            "totals": self._totals(),
            "load": {
                "may": self._may_load,
                "rate": sum(one.load_rate for one in loads),
                "left_s": max((one.load_left_s for one in loads), default=0.0),
            },
        }

    def _totals(self) -> dict[str, Any]:
        recent = [step for steps in self._steps for step in steps]
        # While a new release rolls out, another web may still have other buckets.
        comparable = [one.buckets for one in recent if len(one.buckets) == len(SECONDS_BUCKETS) + 1]
        buckets = [sum(column) for column in zip(*comparable, strict=True)]
        statuses = count_statuses(recent)
        return {
            "offered": self._points[-1]["offered"] if self._points else 0.0,
            "served": self._points[-1]["served"] if self._points else 0.0,
            "p50_ms": _rounded(quantile_ms(SECONDS_BUCKETS, buckets, 0.5)),
            "p95_ms": _rounded(quantile_ms(SECONDS_BUCKETS, buckets, 0.95)),
            "statuses": dict(sorted(statuses.items())),
        }

    def _point(self) -> dict[str, Any]:
        """Return the rates of the last second and a half, of all web processes."""
        last = [steps for steps in list(self._steps)[-3:] if steps]
        seconds = sum(max(one.seconds for one in steps) for steps in last)
        steps = [step for of_poll in last for step in of_poll]
        arrived = sum(one.arrived for one in steps)
        served = sum(
            count for status, count in count_statuses(steps).items() if status.startswith("2")
        )
        return {
            "at": round(self._at, 3),
            "offered": round(arrived / seconds, 2) if seconds else 0.0,
            "served": round(served / seconds, 2) if seconds else 0.0,
        }


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 1)
