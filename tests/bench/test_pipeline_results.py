"""Results from samples and turns: counts, ratios, tables; and whole runs of the benchmark."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from bench.pipeline.__main__ import main
from bench.pipeline.compare import Pairs, relative_to, summarise
from bench.pipeline.figures import Spread
from bench.pipeline.offered import count
from bench.pipeline.overload import recovered_s
from bench.pipeline.report import cpu_table, latency_table, memory_table, peer_table, table
from bench.pipeline.turns import Candidate, Turn
from elastic_yolo.lab.load.client import LOST, Sample
from elastic_yolo.lab.load.wire import Target
from elastic_yolo.lab.processes.process_tree import Memory
from elastic_yolo.tiers import TIERS

SERVICE = Candidate("service", "1p", Target("http://127.0.0.1:1/"), {"web": 1, "engine": 2})


def sample(status: int, latency_ms: float, *, due: float = 0.0, again: int | None = None) -> Sample:
    return Sample(due, latency_ms, status, correct=status == 200, retry_after_s=again)


def test_goodput_counts_correct_responses_in_time() -> None:
    samples = [
        sample(200, 100),
        sample(200, 1200),
        sample(429, 5, again=1),
        sample(429, 7),
        sample(504, 1000),
        sample(LOST, 3),
        Sample(0.0, 50, 200, correct=False, retry_after_s=None),
    ]

    found = count(samples, share=1.5, seconds=2, timeout_ms=1000)

    assert found.offered_per_s == 3.5
    assert found.good_per_s == 0.5
    assert found.within_budget == 0.5
    assert found.accepted_p50_ms == 100
    assert (found.refused_p50_ms, found.refused_without_retry_after) == (5, 1)
    assert found.statuses == {0: 1, 200: 3, 429: 2, 504: 1}
    assert found.wrong == 1


def test_without_rejections_their_latency_is_nan() -> None:
    assert math.isnan(count([sample(200, 1)], 1, 1, 1000).refused_p99_ms)


def test_recovery_is_the_first_half_second_near_normal() -> None:
    slow = [sample(200, 300, due=due / 10) for due in range(10)]
    normal = [sample(200, 10.9, due=1 + due / 10) for due in range(10)]

    assert recovered_s(slow + normal, normal_ms=10) == 1.5
    assert recovered_s(slow, normal_ms=10) is None
    assert recovered_s([], normal_ms=10) is None


def turn(ms: float, rate: float, errors: int = 0, **cpu: float) -> Turn:
    return Turn([ms] * 4, rate, errors, cpu, client_cpu_ms=0.5)


def pairs_of(factor: float) -> Pairs:
    """Two rounds on a machine that is half as fast in the second one."""
    return Pairs(
        alone=[turn(10 * factor, 0, web=1, engine=9), turn(20 * factor, 0, web=2, engine=18)],
        bare_alone=[turn(8, 0, all=8), turn(16, 0, all=16)],
        busy=[turn(50, 80 / factor, web=1, engine=7), turn(99, 40 / factor, 1, web=1, engine=7)],
        bare_busy=[turn(9, 100, all=6), turn(18, 50, all=6)],
    )


def test_a_result_compares_within_rounds() -> None:
    result = summarise(SERVICE, SERVICE, pairs_of(1), {"web": Memory(20, 10)})

    assert result.p50_over_bare == Spread(1.25, 1.25, 1.25)
    assert result.rate_over_bare == Spread(0.8, 0.8, 0.8)
    assert result.alone.p50 == Spread(15, 10, 20)
    assert result.cpu_alone_ms == {"web": 1.5, "engine": 13.5}
    assert result.added_cpu_alone_ms == 3
    assert result.added_cpu_busy_ms == 2
    assert (result.errors, result.requests) == (1, 17)


def test_a_peer_is_compared_with_the_pipeline_in_the_same_rounds() -> None:
    found = relative_to(pairs_of(2), pairs_of(1))

    assert found["p50"] == Spread(2, 2, 2)
    assert found["rate"] == Spread(0.5, 0.5, 0.5)


def test_columns_fit_their_widest_cell() -> None:
    assert table(("name", "ms"), [("a", "10.5"), ("longer", "1")]) == (
        "name      ms\na       10.5\nlonger     1"
    )


def test_tables_show_medians_with_their_range() -> None:
    result = summarise(SERVICE, SERVICE, pairs_of(1), {"web": Memory(20, 10)})

    latency = latency_table([result]).splitlines()
    assert [line.split()[0] for line in latency] == ["candidate", "bare", "service"]
    assert "15.00 (10.00-20.00)" in latency[2]
    assert latency[2].endswith("1/17")
    assert "web 1.50, engine 13.50" in cpu_table([result])
    assert memory_table([result]).splitlines()[1].split() == ["service", "web", "20", "10"]


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "tie"), (2.0, "worse"), (0.5, "better")])
def test_the_table_of_peers_has_verdicts(factor: float, verdict: str) -> None:

    result = summarise(SERVICE, SERVICE, pairs_of(factor), {})
    result = replace(result, over_pipeline=relative_to(pairs_of(factor), pairs_of(1)))

    assert peer_table([result]).splitlines()[1].split().count(verdict) == 2


ARGUMENTS = "--models demo --precision fp32 --rounds 1 --peers none --overload-seconds 0"


@pytest.mark.long
def test_a_tiny_run_compares_the_pipeline_with_the_bare_loop(tmp_path: Path) -> None:
    output = tmp_path / "out.json"
    short = f"--seconds 0.2 --sweep-seconds 0 --no-elastic --no-swaps --output {output}"

    assert main([*ARGUMENTS.split(), *short.split()]) == 0

    found = json.loads(output.read_text())["demo"]
    assert found["pipeline"]["errors"] == 0
    assert found["pipeline"]["cpu_alone_ms"].keys() == set(TIERS)
    assert found["bare"]["found"]


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_small_run_measures_everything_but_overload(tmp_path: Path) -> None:
    """The probes of an overload take twenty seconds."""
    output = tmp_path / "out.json"

    short = f"--seconds 0.3 --sweep-seconds 0.3 --output {output}"
    assert main([*ARGUMENTS.split(), *short.split()]) == 0

    found = json.loads(output.read_text())["demo"]
    assert found["pipeline"]["errors"] == 0
    assert found["pipeline"]["cpu_alone_ms"].keys() == set(TIERS)
    assert found["bare"]["found"]
    assert [rate["share"] for rate in found["offered"]] == [0.25, 0.5, 0.75, 0.9, 1.1, 1.5]
    assert found["elastic"]["answers"] > 0
    assert found["swaps"]["swaps"] > 0
