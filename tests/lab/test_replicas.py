"""The proposals of one metric.

The cases with numbers are those that Kubernetes itself tests (kubernetes/kubernetes,
pkg/controller/podautoscaler/replica_calculator_test.go), with pods of one container.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest

from elastic_yolo.lab.autoscaler.pods import Groups, Pod, Usage, group_pods
from elastic_yolo.lab.autoscaler.replicas import Proposal, Tolerances, propose
from elastic_yolo.lab.autoscaler.spec import Controller, Metric
from elastic_yolo.lab.errors import MetricUnavailable
from tests.lab.pods import NOW, pods, usages

# Those of Kubernetes' tests.
CONTROLLER = Controller(cpu_initialization_period_s=120, initial_readiness_delay_s=10)
TENTH = Tolerances(0.1, 0.1)
MIXED = (900, 1000, 1100)
PENDING = dict.fromkeys((1, 2, 3, 4), "Pending")


class Case(NamedTuple):
    """What there is, and what is to come of it."""

    name: str
    current: int
    levels: Sequence[int]
    target: int
    replicas: int
    percent: int
    others: dict[str, Any] = {}  # noqa: RUF012  # never changed
    """What else there is to say of the pods; `number` where there are more than `current`."""
    tolerances: Tolerances = TENTH


CASES = [
    Case("up", 3, (300, 500, 700), 30, 5, 50),
    Case("up: one that is not ready", 3, (300, 500, 700), 30, 4, 60, {"unready": [0]}),
    Case("up: one that has just started", 3, (300, 500, 700), 30, 4, 60, {"new": [0]}),
    Case("stays: two not ready", 3, (400, 500, 700), 30, 3, 40, {"unready": [1, 2]}),
    Case("stays: two new", 3, (400, 500, 700), 30, 3, 40, {"unready": [1, 2], "new": [1, 2]}),
    Case("up: failed ones", 2, (500, 700), 30, 4, 60,
         {"number": 4, "unready": [2, 3], "phases": {2: "Failed", 3: "Failed"}}),
    Case("up: ended ones", 2, (500, 700), 30, 4, 60,
         {"number": 4, "unready": [2, 3], "phases": {2: "Succeeded", 3: "Succeeded"}}),
    Case("up: those being deleted", 2, (500, 700), 30, 4, 60,
         {"number": 4, "unready": [2, 3], "deleting": [2, 3]}),
    Case("down", 5, (100, 300, 500, 250, 250), 50, 3, 28),
    Case("down: not ready", 5, (100, 300, 500, 250, 250), 50, 2, 30, {"unready": [3, 4]}),
    Case("down: not scheduled", 5, (100,), 50, 1, 10,
         {"unready": [1, 2, 3, 4], "phases": PENDING}),
    Case("down: new ones", 5, (100, 300, 500, 250, 250), 50, 2, 30, {"new": [3, 4]}),
    Case("down: failed ones", 5, (100, 300, 500, 250, 250), 50, 3, 28,
         {"number": 7, "unready": [5, 6], "phases": {5: "Failed", 6: "Failed"}}),
    Case("down: those being deleted", 5, (100, 300, 500, 250, 250), 50, 3, 28,
         {"number": 7, "unready": [5, 6], "deleting": [5, 6]}),
    Case("within the tolerance", 3, (1010, 1030, 1020), 100, 3, 102, {"requests": MIXED}),
    Case("no tolerance", 3, (909, 1010, 1111), 100, 4, 101, {"requests": MIXED}, Tolerances(0, 0)),
    Case("within 200 % up", 3, (1890, 1910, 1900), 100, 3, 190, {"requests": MIXED},
         Tolerances(0.1, 2.0)),
    Case("beyond 8 % up", 3, (1100, 1080, 1090), 100, 4, 109, {"requests": MIXED},
         Tolerances(2.0, 0.08)),
    Case("within 36 % down", 3, (660, 640, 650), 100, 3, 65, {"requests": MIXED},
         Tolerances(0.36, 0.1)),
    Case("beyond 34 % down", 3, (660, 640, 650), 100, 2, 65, {"requests": MIXED},
         Tolerances(0.34, 0.1)),
    Case("more metrics than pods", 4, (4000, 9500, 3000, 7000, 3200, 2000), 100, 24, 587),
    Case("missing, down", 4, (400, 95), 100, 3, 24),
    Case("missing, at the target", 2, (1000,), 100, 2, 100),
    Case("missing, above the target", 2, (1900,), 100, 2, 190),
    Case("missing, below the target", 2, (600,), 100, 2, 60),
    Case("missing and not ready, stays", 3, (100, 450), 50, 3, 45, {"unready": [0]}),
    Case("missing and new, stays", 3, (100, 450), 50, 3, 45, {"new": [0]}),
    Case("missing and not ready, up", 3, (100, 2000), 50, 4, 200, {"unready": [0]}),
    Case("missing and new, up", 3, (100, 2000), 50, 4, 200, {"unready": [0], "new": [0]}),
    Case("missing and not ready, down", 4, (100, 100, 100), 50, 3, 10, {"unready": [0]}),
    Case("missing, a target above 100 %", 4, (200, 100, 100), 300, 2, 6,
         {"unready": [0], "requests": (1000, 1000, 2000, 2000)}),
    Case("missing in a rolling update", 2, (100, 100), 50, 2, 10, {"number": 3}),
    # 50 % of what is requested; of 56 and 55 % only one is a tenth away.
    Case("just beyond the tolerance", 10, (150,) * 10, 56, 9, 50,
         {"requests": (400, 200, 310, 290, 302, 298, 301, 299, 300, 300)}),
    Case("just within the tolerance", 10, (150,) * 10, 55, 10, 50,
         {"requests": (400, 200, 310, 290, 302, 298, 301, 299, 300, 300)}),
]  # fmt: skip


def ask(case: Case, metric: Metric) -> Proposal:
    others = dict(case.others)
    some = pods(others.pop("number", case.current), **others)
    return propose(
        metric, some, usages(*case.levels), case.current, case.tolerances, CONTROLLER, NOW
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_utilization_asks_for_what_kubernetes_asks_for(case: Case) -> None:
    proposal = ask(case, Metric(utilization=case.target))

    assert (proposal.replicas, proposal.value) == (case.replicas, case.percent)


AVERAGES = [
    Case("up", 3, (20000, 10000, 30000), 15000, 4, 20000),
    Case("up: one new and not ready", 3, (50000, 10000, 30000), 15000, 4, 30000,
         {"unready": [2], "new": [2]}),
    Case("the only ready one is at the target", 3, (50000, 15000, 30000), 15000, 3, 15000,
         {"unready": [0, 2], "new": [0, 2]}),
    Case("down", 5, (12000,) * 5, 20000, 3, 12000),
    Case("within the tolerance", 3, (20000, 21000, 21000), 20000, 3, 20666),
    Case("beyond 1 % up", 3, (20000, 21000, 21000), 20000, 4, 20666, {}, Tolerances(0.1, 0.01)),
    Case("missing, at the target", 5, (20000, 19000, 21000), 20000, 5, 20000),
    Case("missing in a rolling update", 2, (10000, 10000), 17000, 2, 10000, {"number": 3}),
]  # fmt: skip


@pytest.mark.parametrize("case", AVERAGES, ids=lambda case: case.name)
def test_an_average_value_asks_for_what_kubernetes_asks_for(case: Case) -> None:
    """The new and unready are counted as Kubernetes counts them for CPU."""
    proposal = ask(case, Metric(average_milli=case.target))

    assert (proposal.replicas, proposal.value) == (case.replicas, case.percent)


@pytest.mark.parametrize(
    ("levels", "others", "words"),
    [
        ({}, {}, "no cpu metrics of any pod"),
        ({"older": Usage(100, 0, 60)}, {}, "no cpu metrics of a known pod"),
        (usages(100), {"unready": [0]}, "no cpu metrics of any ready pod"),
    ],
)
def test_without_metrics_there_is_no_proposal(
    levels: dict[str, Usage], others: dict[str, Any], words: str
) -> None:
    with pytest.raises(MetricUnavailable, match=words):
        propose(Metric(utilization=100), pods(1, **others), levels, 1, TENTH, CONTROLLER, NOW)


WITHIN = "within the tolerance of 10 %"
STARTED = "the pod that just started"
WITHOUT_CHANGE = "that would scale the other way, so no change"


@pytest.mark.parametrize(
    ("case", "note"),
    [
        (Case("", 2, (1480,), 70, 2, 148),
         f"but 74 % if the pod without metrics counts as idle: {WITHIN}"),
        (Case("", 4, (400, 200), 40, 4, 30),
         f"but 65 % if the 2 pods without metrics count as fully used: {WITHOUT_CHANGE}"),
        (Case("", 4, (1500, 1500, 0), 70, 3, 150, {"new": [2]}),
         f"but 75 % if the pod without metrics and {STARTED} count as idle: {WITHIN}"),
        (Case("", 3, (1500, 1500, 0), 70, 4, 150, {"new": [2]}),
         f"but 100 % if {STARTED} counts as idle"),
        (Case("", 2, (750, 750), 70, 2, 75), WITHIN),
    ],
)  # fmt: skip
def test_a_note_has_the_value_recalculated_with_all_pods(case: Case, note: str) -> None:
    proposal = ask(case, Metric(utilization=case.target))

    assert proposal.notes == (note,)


def test_a_pod_without_a_request_has_no_utilization() -> None:
    with pytest.raises(MetricUnavailable, match="pod a has no cpu request"):
        propose(
            Metric(utilization=50), [Pod("a")], {"a": Usage(1, 0, 60)}, 1, TENTH, CONTROLLER, NOW
        )


@pytest.mark.parametrize(
    ("pod", "usage", "group"),
    [
        (Pod("a", started_at=NOW, ready=None), Usage(1, 0, 0), "unready"),
        (Pod("a", started_at=NOW - 60, ready_changed_at=NOW - 30), Usage(1, NOW, 30), "ready"),
        (Pod("a", started_at=NOW - 60, ready_changed_at=NOW - 30), Usage(1, NOW, 60), "unready"),
        (Pod("a", started_at=0, ready=False, ready_changed_at=6), Usage(1, 0, 0), "unready"),
        (Pod("a", started_at=420, ready_changed_at=420), Usage(1, NOW - 120, 60), "ready"),
        (Pod("a", started_at=0, ready=False, ready_changed_at=60), Usage(1, 0, 0), "ready"),
        (Pod("a", started_at=0, ready=False, ready_changed_at=10), Usage(1, 0, 0), "ready"),
        (Pod("a", started_at=420), None, "missing"),
        (Pod("a", phase="Pending"), None, "unready"),
        (Pod("a", phase="Pending", deleting=True), Usage(1, 0, 0), None),
        (Pod("a", phase="Failed"), Usage(1, 0, 0), None),
        (Pod("a", phase="Succeeded"), Usage(1, 0, 0), None),
    ],
)
def test_a_pod_is_in_the_group_that_kubernetes_puts_it_in(
    pod: Pod, usage: Usage | None, group: str | None
) -> None:
    found = group_pods([pod], {"a": usage} if usage else {}, "cpu", CONTROLLER, NOW)

    expected = {"ready": (), "unready": (), "missing": ()} | ({group: ("a",)} if group else {})
    assert found == Groups(**expected)


def test_the_start_of_a_pod_matters_for_cpu_only() -> None:
    new = Pod("a", {"memory": 1000}, started_at=NOW, ready=False)

    assert group_pods([new], {"a": Usage(1, 0, 0)}, "memory", CONTROLLER, NOW).ready == ("a",)
