"""Counts and durations of one version's requests, in the form of Triton's statistics extension.

Source: Triton, `docs/protocol/extension_statistics.md`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from services.common.request.context import RequestContext
from services.inference.scheduler import RunTimes

# Triton's names for the phases of a request, and which of ours belong to each.
_PHASES = {
    "queue": ("json_queue", "decode_queue", "queue"),
    "compute_input": ("decode", "letterbox"),
    "compute_infer": ("engine",),
    "compute_output": ("heads",),
}
_NS_PER_S = 1_000_000_000
_NS_PER_MS = 1_000_000


@dataclass
class _Duration:
    """How often something happened, and how long it took in total."""

    count: int = 0
    ns: int = 0

    def add_s(self, seconds: float) -> None:
        self.count += 1
        self.ns += round(seconds * _NS_PER_S)

    def describe(self) -> dict[str, int]:
        return {"count": self.count, "ns": self.ns}


@dataclass
class _Batches:
    """The runs of the engine with one number of pictures."""

    input: _Duration = field(default_factory=_Duration)
    infer: _Duration = field(default_factory=_Duration)
    output: _Duration = field(default_factory=_Duration)

    def describe(self, pictures: int) -> dict[str, Any]:
        return {
            "batch_size": pictures,
            "compute_input": self.input.describe(),
            "compute_infer": self.infer.describe(),
            "compute_output": self.output.describe(),
        }


class VersionStatistics:
    """What one version has done since it was loaded. Belongs to the event loop."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._success = _Duration()
        self._fail = _Duration()
        self._phases = {name: _Duration() for name in _PHASES}
        self._pictures = 0
        self._last_ms = 0
        self._runs: dict[int, _Batches] = {}

    @contextmanager
    def count_request(self, context: RequestContext, pictures: int) -> Iterator[None]:
        """Count the block as a request for `pictures` pictures: failed if it raises anything."""
        started = time.perf_counter()
        self._last_ms = time.time_ns() // _NS_PER_MS
        try:
            yield
        except BaseException:
            self._fail.add_s(time.perf_counter() - started)
            raise
        self._success.add_s(time.perf_counter() - started)
        self._pictures += pictures
        spent_ms = dict(context.timings.own_phases())
        for name, phases in _PHASES.items():
            self._phases[name].add_s(sum(spent_ms.get(phase, 0.0) for phase in phases) / 1000)

    def record_run(self, pictures: int, times: RunTimes) -> None:
        """Count a run of the engine, whoever has caused it."""
        runs = self._runs.setdefault(pictures, _Batches())
        runs.input.add_s(times.input_s)
        runs.infer.add_s(times.engine_s)
        runs.output.add_s(times.heads_s)

    def describe(self) -> dict[str, Any]:
        """Return the extension's JSON, without the names of model and version."""
        return {
            "last_inference": self._last_ms,
            "inference_count": self._pictures,
            "execution_count": sum(runs.infer.count for runs in self._runs.values()),
            "inference_stats": {
                "success": self._success.describe(),
                "fail": self._fail.describe(),
                **{name: duration.describe() for name, duration in self._phases.items()},
                # There is no cache of responses, and perf_analyzer reads both.
                "cache_hit": _Duration().describe(),
                "cache_miss": _Duration().describe(),
            },
            "batch_stats": [runs.describe(size) for size, runs in sorted(self._runs.items())],
        }
