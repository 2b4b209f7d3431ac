"""Speeds are compared in turns, by the shortest run of each engine."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from elastic_yolo.detector.boxes import Floats, Image
from elastic_yolo.detector.engines.base import Engine
from elastic_yolo.detector.speed import measure_ms
from tests.support.clock import Clock

PICTURES = [np.full((4, 4, 3), value, np.uint8) for value in range(9)]


@dataclass
class Timed:
    """An engine that takes the milliseconds that it is told, in turn."""

    name: str
    took_ms: list[float]
    clock: Clock
    calls: list[str]
    seen: list[int] = field(default_factory=list)
    precision = "fp32"
    device = "cpu"
    batches = False

    def execute(self, images: Image) -> list[Floats]:
        self.clock.now += self.took_ms[len(self.seen) % len(self.took_ms)] / 1000
        self.seen.append(int(images[0, 0, 0, 0]))
        self.calls.append(self.name)
        return []

    def split(self, parts: int) -> list[Engine]:
        raise NotImplementedError(parts)


def test_the_shortest_run_of_each_engine_counts() -> None:
    """A run of the fast engine meets a busy moment of the machine."""
    clock, calls = Clock(), list[str]()
    slow = Timed("slow", [24.0, 12.0, 90.0], clock, calls)
    fast = Timed("fast", [200.0, 6.0, 7.0], clock, calls)

    found = measure_ms({"fp32": slow, "bf16": fast}, PICTURES, clock)

    assert {name: round(ms, 6) for name, ms in found.items()} == {"fp32": 12.0, "bf16": 6.0}


def test_engines_take_turns_on_the_same_pictures() -> None:
    clock, calls = Clock(), list[str]()
    engines = {name: Timed(name, [1.0], clock, calls) for name in ("a", "b", "c")}

    measure_ms(engines, iter(PICTURES), clock)

    assert calls[:6] == ["a", "b", "c", "a", "b", "c"]
    assert len(calls) == 90
    assert engines["a"].seen == engines["b"].seen == [0, 1, 2, 3, 4] * 6


def test_one_picture_is_enough() -> None:
    clock, calls = Clock(), list[str]()

    assert measure_ms({"a": Timed("a", [3.0], clock, calls)}, PICTURES[:1], clock).keys() == {"a"}
