"""The container's CPU quota, throttling and memory limit, read at every scrape.

Sources: the kernel's documentation of cgroup v2 (cpu.stat, memory.max) and of v1 (cpu.stat,
memory.limit_in_bytes).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from elastic_yolo.machine import CGROUPS
from services.common.observe.cpu_quota import cpu_quota

_STATS = (Path("cpu.stat"), Path("cpu/cpu.stat"))
_LIMITS = (Path("memory.max"), Path("memory/memory.limit_in_bytes"))
# In version 1 the largest number of whole pages stands for no limit.
_NO_LIMIT = 2**62


class CgroupCollector(Collector):
    """Exports the CPU quota, throttling and the memory limit of this process's container."""

    def __init__(self, service: str, cgroups: Path = CGROUPS) -> None:
        """Read below `cgroups` at every scrape: limits may change while a pod runs."""
        self._service = service
        self._cgroups = cgroups

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the metrics depend on the kernel."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics that the kernel provides."""
        yield self._gauge(
            "elastic_yolo_cpu_quota_cores",
            "CPU quota of this process, in cores.",
            cpu_quota(self._cgroups),
        )
        limit = self._memory_limit()
        if limit is not None:
            yield self._gauge(
                "elastic_yolo_memory_limit_bytes", "Memory limit of the container.", limit
            )
        stat = self._cpu_stat()
        # usec in version 2, nanoseconds in version 1.
        throttled_s = stat.get("throttled_usec", 0) / 1e6 + stat.get("throttled_time", 0) / 1e9
        for name, meaning, value in (
            ("periods", "Periods of the CPU quota in which a thread was runnable.", "nr_periods"),
            ("throttled_periods", "Periods in which the CPU quota was used up.", "nr_throttled"),
        ):
            if value in stat:
                yield self._counter(f"elastic_yolo_cpu_{name}", meaning, stat[value])
        if "nr_throttled" in stat:
            meaning = "Time for which the CPU quota stopped runnable threads, summed over CPUs."
            yield self._counter("elastic_yolo_cpu_throttled_seconds", meaning, throttled_s)

    def _gauge(self, name: str, meaning: str, value: float) -> Metric:
        family = GaugeMetricFamily(name, meaning, labels=("service",))
        family.add_metric((self._service,), value)
        return family

    def _counter(self, name: str, meaning: str, value: float) -> Metric:
        family = CounterMetricFamily(name, meaning, labels=("service",))
        family.add_metric((self._service,), value)
        return family

    def _cpu_stat(self) -> dict[str, int]:
        lines = self._first(_STATS).splitlines()
        pairs = (line.split() for line in lines)
        return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}

    def _memory_limit(self) -> int | None:
        text = self._first(_LIMITS).strip()
        return int(text) if text.isdigit() and int(text) < _NO_LIMIT else None

    def _first(self, candidates: Iterable[Path]) -> str:
        for candidate in candidates:
            try:
                return (self._cgroups / candidate).read_text()
            except OSError:
                continue
        return ""
