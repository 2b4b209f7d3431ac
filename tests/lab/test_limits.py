"""Policies and windows.

The cases with numbers are those that Kubernetes itself tests (kubernetes/kubernetes,
pkg/controller/podautoscaler/horizontal_test.go).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pytest

from elastic_yolo.lab.autoscaler.limits import History, Recommendation, ScaleEvent, limit, stabilize
from elastic_yolo.lab.autoscaler.spec import (
    SCALE_DOWN,
    SCALE_UP,
    Behavior,
    Controller,
    HpaSpec,
    Policy,
    ScalingRules,
    SelectPolicy,
)

NOW = 10_000.0


def rules(
    pods: tuple[int, int] | None = None,
    percent: tuple[int, int] | None = None,
    select: SelectPolicy = "Max",
) -> ScalingRules:
    """Return rules from value and period of the policies."""
    both = [
        Policy("Pods", *pods) if pods else None,
        Policy("Percent", *percent) if percent else None,
    ]
    return ScalingRules(tuple(one for one in both if one), select, window_s=0)


def events(changes: Sequence[int], spread_s: float = 120) -> list[ScaleEvent]:
    """Spread changes evenly over the last seconds, each in the middle of its part."""
    part = spread_s / max(1, len(changes))
    return [
        ScaleEvent(change, NOW - spread_s + part * (number + 0.5))
        for number, change in enumerate(changes)
    ]


class Case(NamedTuple):
    """What there is, and what is to come of it."""

    name: str
    bounds: tuple[int, int]
    current: int
    desired: int
    replicas: int
    reason: str
    up: ScalingRules = SCALE_UP
    down: ScalingRules = SCALE_DOWN
    ups: Sequence[int] = ()
    downs: Sequence[int] = ()


WIDE = (1, 1000)
CASES = [
    Case("within", (3, 8), 5, 7, 7, "DesiredWithinRange"),
    Case("below min", (2, 8), 3, 1, 2, "TooFewReplicas"),
    Case("down to none", (0, 10), 1, 0, 0, "DesiredWithinRange"),
    Case("above max already", (1, 10), 20, 1000, 10, "TooManyReplicas"),
    Case("above max", (100, 150), 100, 1000, 150, "TooManyReplicas"),
    Case("1 % is one pod", (1, 2000), 3, 1000, 4, "ScaleUpLimit", up=rules(None, (1, 60))),
    Case("up by default", WIDE, 10, 50, 20, "ScaleUpLimit"),
    Case("more pods than per cent", WIDE, 10, 500, 110, "ScaleUpLimit",
         up=rules((100, 60), (100, 60))),
    Case("more per cent than pods", WIDE, 10, 500, 20, "ScaleUpLimit",
         up=rules((2, 60), (100, 60))),
    Case("many pods", WIDE, 10, 50, 50, "DesiredWithinRange", up=rules((100, 60))),
    Case("very many pods", WIDE, 10, 50, 50, "DesiredWithinRange", up=rules((10000, 60))),
    Case("30 pods", WIDE, 10, 50, 40, "ScaleUpLimit", up=rules((30, 60))),
    Case("200 %", WIDE, 10, 50, 30, "ScaleUpLimit", up=rules(None, (200, 60))),
    Case("Min of both, up", WIDE, 1, 50, 2, "ScaleUpLimit", up=rules((2, 60), (50, 60), "Min")),
    Case("down by 20 pods", WIDE, 100, 2, 80, "ScaleDownLimit", down=rules((20, 60), (1, 60))),
    Case("down by 2 pods", WIDE, 100, 2, 98, "ScaleDownLimit", down=rules((2, 60), (1, 60))),
    Case("down by many pods", WIDE, 10, 0, 1, "TooFewReplicas", down=rules((100, 60))),
    Case("down by 100 %", (5, 1000), 10, 2, 5, "TooFewReplicas", down=rules(None, (100, 60))),
    Case("down by 5 pods", WIDE, 10, 2, 5, "ScaleDownLimit", down=rules((5, 60))),
    Case("down by 50 %", WIDE, 10, 5, 5, "DesiredWithinRange", down=rules(None, (50, 60))),
    Case("Min of both, down", WIDE, 5, 1, 3, "ScaleDownLimit",
         down=rules((2, 60), (50, 60), "Min")),
    Case("max before pods", (1, 200), 100, 500, 200, "TooManyReplicas",
         up=rules((300, 60)), ups=(1, 5, 9)),
    Case("max before per cent", (1, 200), 100, 500, 200, "TooManyReplicas",
         up=rules(None, (10000, 60)), ups=(1, 5, 9)),
    Case("more than allowed has come already", WIDE, 100, 500, 100, "ScaleUpLimit",
         up=rules((5, 120)), ups=(1, 5, 9)),
    Case("pods of the period count", WIDE, 100, 500, 235, "ScaleUpLimit",
         up=rules((150, 120)), ups=(1, 5, 9)),
    Case("per cent of the period's start", WIDE, 100, 500, 255, "ScaleUpLimit",
         up=rules(None, (200, 120)), ups=(1, 5, 9)),
    Case("up after ups and downs", WIDE, 6, 24, 16, "ScaleUpLimit",
         up=rules(None, (300, 300)), ups=(4,), downs=(2,)),
    Case("down by default", WIDE, 10, 5, 5, "DesiredWithinRange", downs=(1, 5, 9)),
    Case("down by 115 pods", WIDE, 100, 0, 1, "TooFewReplicas",
         down=rules((115, 120)), downs=(1, 5, 9)),
    Case("down by 130 pods", (5, 1000), 100, 0, 5, "TooFewReplicas",
         down=rules((130, 120)), downs=(1, 5, 9)),
    Case("down by all", (5, 1000), 100, 2, 5, "TooFewReplicas",
         down=rules(None, (100, 120)), downs=(1, 5, 9)),
    Case("more than allowed has gone already", WIDE, 100, 2, 100, "ScaleDownLimit",
         down=rules((5, 120)), downs=(1, 5, 9)),
    Case("half of the period's start", WIDE, 100, 0, 56, "ScaleDownLimit",
         down=rules(None, (50, 120)), downs=(2, 4, 6)),
    Case("down after ups and downs", WIDE, 10, 1, 6, "ScaleDownLimit",
         down=rules(None, (50, 180)), ups=(2,), downs=(4,)),
    Case("10 % have gone already", WIDE, 100, 0, 100, "ScaleDownLimit",
         down=rules(None, (10, 120)), downs=(10, 10, 10)),
    Case("down by more than there are", WIDE, 10, 5, 5, "DesiredWithinRange",
         down=rules(None, (1000, 120)), downs=(10, 10, 10)),
    Case("two periods, up", WIDE, 100, 200, 200, "DesiredWithinRange",
         up=rules((1000, 120), (100, 60)), ups=(8, 12, 9, 11)),
    Case("two periods, down", WIDE, 100, 5, 5, "DesiredWithinRange",
         down=rules((1000, 30), (100, 60)), downs=(8, 12, 9, 11)),
    Case("up is disabled", WIDE, 4, 9, 4, "ScaleUpLimit", up=rules((9, 60), None, "Disabled")),
    Case("down is disabled", WIDE, 4, 1, 4, "ScaleDownLimit",
         down=rules((9, 60), None, "Disabled")),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_policies_allow_what_kubernetes_allows(case: Case) -> None:
    spec = HpaSpec(
        "x", case.bounds[1], min_replicas=case.bounds[0], behavior=Behavior(case.up, case.down)
    )
    history = History(ups=events(case.ups), downs=events(case.downs))

    limited = limit(spec, history, case.current, case.desired, NOW)

    assert (limited.replicas, limited.reason) == (case.replicas, case.reason)
    assert bool(limited.words) == (case.reason != "DesiredWithinRange")


@pytest.mark.parametrize(
    ("bounds", "current", "desired", "replicas", "reason"),
    [
        ((3, 8), 5, 7, 7, "DesiredWithinRange"),
        ((2, 8), 3, 1, 2, "TooFewReplicas"),
        ((0, 10), 1, 0, 0, "DesiredWithinRange"),
        ((1, 10), 20, 1000, 10, "TooManyReplicas"),
        ((1, 2000), 1, 1000, 4, "ScaleUpLimit"),
        ((1, 2000), 3, 1000, 6, "ScaleUpLimit"),
    ],
)
def test_without_behavior_it_goes_to_the_double_or_to_four(
    bounds: tuple[int, int], current: int, desired: int, replicas: int, reason: str
) -> None:
    """What the controller does where the manifest has no `behavior`, whose factor is 2."""
    spec = HpaSpec("x", bounds[1], min_replicas=bounds[0])

    limited = limit(spec, History(), current, desired, NOW)

    assert (limited.replicas, limited.reason) == (replicas, reason)


Recommended = Sequence[tuple[int, float]]
"""Replicas, and how many minutes ago."""


def history_of(recommended: Recommended) -> History:
    return History([Recommendation(replicas, NOW - 60 * ago) for replicas, ago in recommended])


@pytest.mark.parametrize(
    ("recommended", "current", "desired", "windows", "stable"),
    [
        ((), 100, 5, (0, 0), 5),
        (((4, 2), (5, 1)), 100, 3, (0, 180), 5),
        (((4, 2), (5, 1)), 1, 7, (300, 0), 4),
        (((1, 2), (2, 1)), 100, 3, (300, 0), 3),
        (((4, 2), (5, 1)), 1, 3, (0, 300), 3),
        (((10, 10), (9, 9)), 100, 3, (0, 0), 3),
        (((10, 10), (9, 9)), 1, 100, (0, 0), 100),
        (((10, 10), (4, 1), (5, 2), (9, 9)), 100, 3, (0, 180), 5),
        (((10, 100), (6, 1), (5, 2), (9, 3)), 1, 100, (300, 0), 5),
        (((2, 100), (3, 3)), 2, 1, (300, 300), 2),
        (((2, 100), (1, 3)), 2, 3, (300, 300), 2),
    ],
)
def test_windows_hold_back_as_those_of_kubernetes(
    recommended: Recommended, current: int, desired: int, windows: tuple[int, int], stable: int
) -> None:
    up, down = (ScalingRules(SCALE_UP.policies, window_s=window) for window in windows)
    spec = HpaSpec("x", 1000, behavior=Behavior(up, down))
    history = history_of(recommended)

    found = stabilize(spec, Controller(), history, current, desired, NOW)

    assert found.replicas == stable
    assert bool(found.words) == (stable != desired)
    assert history.recommendations[-1] == Recommendation(desired, NOW)


@pytest.mark.parametrize(
    ("recommended", "desired", "stable"),
    [
        ((), 5, 5),
        (((4, 2), (5, 1)), 3, 5),
        (((1, 2), (2, 1)), 3, 3),
        (((10, 10), (9, 9)), 3, 3),
        (((10, 10), (4, 1), (5, 2), (9, 9)), 3, 5),
        (((8, 5),), 3, 8),
    ],
)
def test_without_behavior_the_window_is_the_controllers(
    recommended: Recommended, desired: int, stable: int
) -> None:
    spec, history = HpaSpec("x", 1000), history_of(recommended)

    found = stabilize(spec, Controller(), history, 5, desired, NOW)

    assert found.replicas == stable


@pytest.mark.parametrize(
    ("stored", "counted", "kept"),
    [
        ([], 0, [5]),
        ([(7, 61)], 0, [5]),
        ([(7, 58)], 7, [7, 5]),
        ([(7, 61), (6, 59)], 6, [5, 6]),
        ([(7, 58), (6, 59)], 13, [7, 6, 5]),
    ],
)
@pytest.mark.parametrize("up", [True, False])
def test_changes_are_remembered_as_long_as_a_policy_needs_them(
    stored: list[tuple[int, float]], counted: int, kept: list[int], up: bool
) -> None:
    old = [ScaleEvent(change, NOW - ago) for change, ago in stored]
    history = History(ups=old) if up else History(downs=old)
    sixty = rules((10, 60), (100, 60))

    assert abs(history.changes(60, NOW)) == counted
    history.store(Behavior(sixty, sixty), *((5, 10) if up else (10, 5)), NOW)

    assert [event.change for event in (history.ups if up else history.downs)] == kept
