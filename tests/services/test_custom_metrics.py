"""A model's own metrics.py: what it may return, and what happens when it is wrong."""

from __future__ import annotations

import re
import shutil
import threading
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from elastic_yolo.detector.boxes import Floats
from elastic_yolo.detector.errors import ModelError
from elastic_yolo.lab.processes.stack import ROOT, Service, Stack, StackError, free_port
from services.inference.versions.custom_metrics import CustomMetrics, Hook, read_hook
from tests.support.tiny import write_tiny_model
from tests.support.versions import JPEG
from tests.support.waiting import wait_until

LABELS = ("square", "circle")
FOUND = [np.array([[8, 12, 24, 20, 0.9, 0], [0, 0, 4, 4, 0.6, 1]], np.float32)]
WHOSE = {"model": "tiny", "version": "1"}


class Bench:
    """Custom metrics, and what they export."""

    def __init__(self) -> None:
        """Know no metric yet."""
        self.registry = CollectorRegistry()
        self.custom = CustomMetrics(self.registry)

    def observe(self, hook: Hook, found: list[Floats] = FOUND) -> None:
        self.custom.observe(hook, "tiny", "1", LABELS, found)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"elastic_yolo_custom_{name}", {**WHOSE, **labels})

    def wait_for(self, name: str, value: float, **labels: str) -> None:
        wait_until(lambda: self.value(name, **labels) == value, f"{name} is {value}")


def returning(*stated: Any) -> Hook:
    return lambda _found: list(stated)


def test_a_hook_sees_what_an_answer_says() -> None:
    seen: list[Any] = []
    bench = Bench()

    def hook(found: list[Any]) -> list[Any]:
        seen.extend(found)
        return [{"type": "COUNTER", "key": "seen", "value": len(found)}]

    bench.observe(hook)
    bench.wait_for("seen_total", 2)

    assert [(label, box) for label, _, box in seen] == [
        ("square", [16.0, 16.0, 16.0, 8.0]),
        ("circle", [2.0, 2.0, 4.0, 4.0]),
    ]
    assert [score for _, score, _ in seen] == pytest.approx([0.9, 0.6])


def test_the_example_of_the_docs_counts_people(tmp_path: Path) -> None:
    shutil.copy(ROOT / "docs" / "metrics.example.py", tmp_path / "metrics.py")
    hook = read_hook(tmp_path)
    assert hook is not None
    bench = Bench()
    bench.custom.observe(hook, "tiny", "1", ("dog", "person"), FOUND * 2)
    bench.wait_for("up_seconds_count", 2)

    assert bench.value("people_total") == 2
    assert bench.value("crowd", camera="north") == 1


def test_counters_add_gauges_stay_timers_are_milliseconds() -> None:
    bench = Bench()
    for value in (1, 2):
        bench.observe(
            returning(
                {"type": "COUNTER", "key": "things", "value": value},
                {"type": "GAUGE", "key": "level", "value": value},
                {"type": "TIMER", "key": "work", "value": value, "tags": {"kind": "a"}},
            )
        )
    bench.wait_for("work_seconds_count", 2, kind="a")

    assert bench.value("things_total") == 3
    assert bench.value("level") == 2
    assert bench.value("work_seconds_sum", kind="a") == pytest.approx(0.003)


@pytest.mark.parametrize(
    ("stated", "why"),
    [
        ({"type": "SUM", "key": "a", "value": 1}, "Input should be"),
        ({"type": "GAUGE", "key": "a b", "value": 1}, "String should match"),
        ({"type": "GAUGE", "key": "a", "value": float("nan")}, "no value"),
        ({"type": "COUNTER", "key": "a", "value": -1}, "Counters can only be incremented"),
        ({"type": "GAUGE", "key": "a", "value": 1, "tags": {"model": "x"}}, "are there already"),
        ({"type": "GAUGE", "key": "a"}, "Field required"),
        ("a", "Input should be"),
    ],
)
def test_what_makes_no_sense_is_counted_logged_once_and_harms_nothing(
    stated: Any, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench()
    for _ in range(3):
        bench.observe(returning(stated))
    bench.observe(returning({"type": "COUNTER", "key": "good", "value": 1}))
    bench.wait_for("good_total", 1)

    skipped = bench.value("metrics_skipped_total", reason="failed")
    log = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out)
    assert skipped == 3
    assert log.count("custom metrics failed") == 1
    assert why in log


def test_a_hook_that_raises_is_counted() -> None:
    bench = Bench()
    bench.observe(lambda found: [found[5]])
    bench.wait_for("metrics_skipped_total", 1, reason="failed")


def test_tags_made_of_what_is_seen_do_not_fill_the_memory() -> None:
    bench, numbers = Bench(), count()

    def hook(_found: list[Any]) -> list[Any]:
        number = next(numbers)
        return [{"type": "GAUGE", "key": "each", "value": 1, "tags": {"id": str(number)}}]

    bench.observe(hook, FOUND * 150)
    bench.wait_for("metrics_skipped_total", 50, reason="failed")

    assert bench.value("each", id="99") == 1
    assert bench.value("each", id="100") is None


def gauge(value: float, **tags: str) -> dict[str, Any]:
    return {"type": "GAUGE", "key": "crowd", "value": value, "tags": tags}


def test_a_value_never_gets_another_tag_than_its_own() -> None:
    bench = Bench()
    bench.observe(returning(gauge(1, camera="north")))
    bench.observe(returning(gauge(2, zone="gate")))
    bench.wait_for("metrics_skipped_total", 1, reason="failed")

    assert bench.value("crowd", camera="north") == 1
    assert bench.value("crowd", camera="gate") is None


def test_a_version_that_left_long_ago_takes_its_values_and_its_room_with_it() -> None:
    bench = Bench()
    for camera in range(100):
        bench.observe(returning(gauge(1, camera=str(camera))), FOUND)
        bench.wait_for("crowd", 1, camera=str(camera))
    bench.custom.forget("tiny", "1")
    gone = bench.value("crowd", camera="7")
    bench.observe(returning(gauge(2, camera="new")))
    bench.wait_for("crowd", 2, camera="new")

    assert gone is None
    assert bench.value("metrics_skipped_total", reason="failed") is None


def test_keys_made_of_what_is_seen_do_not_fill_the_memory() -> None:
    bench, numbers = Bench(), count()
    bench.observe(
        lambda _found: [{"type": "GAUGE", "key": f"each{next(numbers)}", "value": 1}], FOUND * 150
    )
    bench.wait_for("metrics_skipped_total", 50, reason="failed")


def test_a_hook_that_hangs_does_not_keep_the_process_from_ending(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "model")
    (model / "metrics.py").write_text("import time\ndef metrics(found):\n    time.sleep(600)\n")
    env = {"MODEL_PATH": str(model), "CUSTOM_METRICS": "true"}
    with Stack(logs=tmp_path, env={"inference": env}) as stack:
        for _ in range(3):
            httpx.post(f"{stack.web.url}/inference", files={"image": JPEG}).raise_for_status()
        # It waits half a minute, and no longer.
        status = stack.inference.stop()

    assert status == 0
    assert not (model / "__pycache__").exists()


def test_a_hook_that_is_too_slow_is_not_waited_for() -> None:
    bench, gate = Bench(), threading.Event()

    def slow(_found: list[Any]) -> list[Any]:
        assert gate.wait(20)
        return []

    for _ in range(100):
        bench.observe(slow)
    busy = bench.value("metrics_skipped_total", reason="busy")
    gate.set()

    # One is being looked at, if the thread has come to it.
    assert busy in (100 - 64, 100 - 65)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.just("COUNTER"),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["type", "key", "value", "tags", "x"]), inner)
        ),
        max_leaves=12,
    )
)
def test_whatever_a_hook_returns_it_is_recorded_or_counted(stated: Any) -> None:
    bench = Bench()
    bench.observe(lambda _found: stated)
    bench.observe(returning({"type": "COUNTER", "key": "last", "value": 1}))
    bench.wait_for("last_total", 1)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import nowhere_to_be_found", "ModuleNotFoundError"),
        ("def metrics(found", "SyntaxError"),
        ("x = 1", "expected a function metrics(found)"),
        ("metrics = 7", "expected a function metrics(found)"),
        ("raise SystemError('no')", "SystemError: no"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
    ],
)
def test_a_file_that_is_no_hook_is_an_error_of_the_model(
    tmp_path: Path, code: str, why: str
) -> None:
    (tmp_path / "metrics.py").write_text(code)

    with pytest.raises(ModelError, match=re.escape(why)):
        read_hook(tmp_path)


def test_a_model_without_the_file_has_no_hook(tmp_path: Path) -> None:
    assert read_hook(tmp_path) is None


def test_code_of_a_model_runs_only_where_that_is_allowed(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "model")
    proof = tmp_path / "it ran"
    (model / "metrics.py").write_text(f"open({str(proof)!r}, 'w').close()")
    env = {"MODEL_PATH": str(model)}
    with Service("inference", free_port(), env) as service:
        service.wait_ready()
    ran = proof.exists()
    log = tmp_path / "log"
    allowed = env | {"CUSTOM_METRICS": "true"}
    with Service("inference", free_port(), allowed, log) as service, pytest.raises(StackError):
        service.wait_ready()

    assert not ran
    assert proof.exists()
    assert "expected a function metrics(found)" in log.read_text().splitlines()[-1]
