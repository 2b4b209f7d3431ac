"""Replicas and CPU from Prometheus, queried once after the run.

With kube-state-metrics (`kube_*`), replicas are the Deployments' and desired ones the autoscalers'.
Otherwise a tier is a job of that name, a replica is one of its targets, and a target that is up is
ready. CPU is the services' `process_cpu_seconds_total` in both cases.
"""

from __future__ import annotations

import math
from typing import Any

import httpx

from elastic_yolo.lab.timeline import Sample
from elastic_yolo.tiers import TIERS
from loadtest.errors import LoadTestError
from loadtest.urls import without_user

_TIMEOUT_S = 30.0
_MOST_POINTS = 120
_ANY = "|".join(TIERS)
# Between the last two scrapes, for any scrape interval up to a minute.
_CPU = 'sum by ({label}) (irate(process_cpu_seconds_total{{{label}=~"{tiers}"{more}}}[2m]))'

Series = dict[str, dict[float, float]]
"""By tier, then by Unix second."""


def kube_queries(namespace: str) -> dict[str, tuple[str, str]]:
    """Return label of the tier and query by name, for kube-state-metrics."""
    here = f'namespace="{namespace}"'
    deployment = f'{{deployment=~"{_ANY}",{here}}}'
    scaler = f'horizontalpodautoscaler=~"{_ANY}",{here}'
    aim = 'metric_name="cpu",metric_target_type="utilization"'
    cpu = _CPU.format(label="container", tiers=_ANY, more=f",{here}")
    requests = f'kube_pod_container_resource_requests{{resource="cpu",container=~"{_ANY}",{here}}}'
    return {
        "replicas": ("deployment", f"kube_deployment_status_replicas{deployment}"),
        "ready": ("deployment", f"kube_deployment_status_replicas_ready{deployment}"),
        "desired": (
            "horizontalpodautoscaler",
            f"kube_horizontalpodautoscaler_status_desired_replicas{{{scaler}}}",
        ),
        "target_percent": (
            "horizontalpodautoscaler",
            f"kube_horizontalpodautoscaler_spec_target_metric{{{aim},{scaler}}}",
        ),
        "cpu_s": ("container", cpu),
        "requested": ("container", f"sum by (container) ({requests})"),
    }


def job_queries() -> dict[str, tuple[str, str]]:
    """Return the same for the services' own metrics only."""
    up = f'up{{job=~"{_ANY}"}}'
    return {
        "replicas": ("job", f"count by (job) ({up})"),
        "ready": ("job", f"sum by (job) ({up})"),
        "cpu_s": ("job", _CPU.format(label="job", tiers=_ANY, more="")),
    }


class Prometheus:
    """Queries the HTTP API of a Prometheus server."""

    def __init__(self, url: str, namespace: str) -> None:
        """Take the URL; nothing is requested yet."""
        self.name = f"Prometheus at {without_user(url)}"
        self._url = url.rstrip("/")
        self._namespace = namespace
        self._notes: list[str] = []

    def begin(self) -> None:
        """Run a trivial query; raises LoadTestError."""
        self._get("/api/v1/query", {"query": "1"})

    def end(self, start_at: float, end_at: float) -> list[Sample]:
        """Return the samples of the run."""
        series = self._query_all(kube_queries(self._namespace), start_at, end_at)
        jobs = not series["replicas"]
        if jobs:
            series = self._query_all(job_queries(), start_at, end_at)
            self._notes.append(
                "There are no kube_* metrics: replicas and desired ones are the targets that "
                "Prometheus scrapes, ready ones are the targets that are up."
            )
        return to_samples(series, why="" if not jobs else "targets of the job")

    def notes(self) -> list[str]:
        """Return what counts as a replica without kube-state-metrics."""
        return self._notes

    def _query_all(
        self, queries: dict[str, tuple[str, str]], start_at: float, end_at: float
    ) -> dict[str, Series]:
        step = max(1, math.ceil((end_at - start_at) / _MOST_POINTS))
        return {
            name: parse_matrix(
                self._get(
                    "/api/v1/query_range",
                    {"query": query, "start": start_at, "end": end_at, "step": step},
                ),
                label,
            )
            for name, (label, query) in queries.items()
        }

    def _get(self, path: str, parameters: dict[str, Any]) -> Any:
        try:
            response = httpx.get(self._url + path, params=parameters, timeout=_TIMEOUT_S)
        except httpx.HTTPError as error:
            why = str(error) or type(error).__name__
            raise LoadTestError(f"{self.name}: {why}") from error
        try:
            answer = response.json()
        except ValueError:
            answer = None
        match answer:
            case {"status": "success", "data": data}:
                return data
            case {"status": "error", "error": str(why)}:
                raise LoadTestError(f"{self.name}: {why}")
        what = f"status {response.status_code}, not a response of Prometheus"
        raise LoadTestError(f"{self.name}: {what}")


def parse_matrix(data: Any, label: str) -> Series:
    """Return the series of a range query by the value of a label; NaN is omitted."""
    series: Series = {}
    for one in data["result"]:
        values = ((float(at), float(value)) for at, value in one["values"])
        series[one["metric"][label]] = {at: value for at, value in values if math.isfinite(value)}
    return series


def to_samples(series: dict[str, Series], *, why: str = "") -> list[Sample]:
    """Return a sample for every tier and moment with known replicas, ordered by time."""
    samples = []
    for tier, replicas in series["replicas"].items():
        for at, count in replicas.items():

            def value(name: str, at: float = at, tier: str = tier) -> float | None:
                return series.get(name, {}).get(tier, {}).get(at)

            cpu_s, requested, target = value("cpu_s"), value("requested"), value("target_percent")
            desired = value("desired")
            percent = 100 * cpu_s / requested if cpu_s is not None and requested else None
            samples.append(
                Sample(
                    at=at,
                    tier=tier,
                    replicas=round(count),
                    ready=round(value("ready") or 0),
                    desired=round(count if desired is None else desired),
                    target_percent=None if target is None else round(target),
                    cpu_percent=percent,
                    cpu_s=cpu_s,
                    why=why,
                )
            )
    return sorted(samples, key=lambda sample: (sample.at, sample.tier))
