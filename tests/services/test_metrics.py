"""docs/metrics.md documents what the services export, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from elastic_yolo.detector.profile import FILE
from elastic_yolo.lab.processes.stack import ROOT, Service, Stack, free_port
from services.common.observe.cgroup import CgroupCollector
from tests.support.pictures import encode, plain
from tests.support.publishing import publish
from tests.support.sending import send
from tests.support.tiny import reference_of_squares, write_tiny_model
from tests.support.versions import sample
from tests.support.waiting import wait_until

JPEG = encode(plain(64, 48), "JPEG")
HOOK = """
def metrics(found):
    best = max(score for label, score, box in found)
    return [
        {"type": "COUNTER", "key": "squares", "value": len(found)},
        {"type": "GAUGE", "key": "best_score", "value": best},
        {"type": "TIMER", "key": "thinking", "value": 20.5, "tags": {"mood": "calm"}},
    ]
"""
# Only some kernels and container engines have these figures. Those of TLS: test_tls.py.
CONDITIONAL = re.compile(
    r"elastic_yolo_(cpu_.*periods|cpu_throttled_seconds|memory_limit_bytes|tls_|limit_redis_up|explanation)"
)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Services that have counted at least one event of every kind."""
    folder = tmp_path_factory.mktemp("metrics")
    model = write_tiny_model(folder / "model")
    files = {path.name: path.read_bytes() for path in model.iterdir()}
    files |= {FILE: reference_of_squares(brightness=99), "metrics.py": HOOK.encode()}
    for version in ("1", "2"):
        channel = "stable" if version == "1" else "next"
        publish(folder / "store", files | {"tiny.names": f"{version}\nb\n".encode()},
            name="tiny", version=version, channel=channel)  # fmt: skip
    env = {
        "inference": {
            "MODEL_PATH": f"store:{folder}/store/tiny@stable,tiny@next=shadow",
            "MODEL_POLL_S": "0.05",
            "CUSTOM_METRICS": "true",
        }
    }
    with Stack(logs=folder, env=env) as running:
        # A free port gives failures, retries and an ejection.
        urls = f"http://127.0.0.1:{free_port()},{running.inference.url}"
        table = folder / "routes.yaml"
        table.write_text("routes: [{backends: inference}]")
        preprocess_env = {"INFERENCE_URL": urls, "ROUTES": str(table)}
        with Service("preprocess", free_port(), preprocess_env) as preprocess:
            preprocess.wait_ready()
            with Service("web", free_port(), {"PREPROCESS_URL": preprocess.url}) as web:
                web.wait_ready()
                for _ in range(20):
                    httpx.post(f"{web.url}/inference", files={"image": JPEG}).raise_for_status()
                httpx.post(
                    f"{web.url}/inference", files={"image": JPEG}, headers={"Accept": "image/png"}
                ).raise_for_status()
                assert httpx.post(f"{web.url}/inference", content=b"no").status_code == 415
                fill_the_window(running.inference)
                running.web, running.preprocess = web, preprocess
                yield running


def fill_the_window(service: Service) -> None:
    """Send the pictures that the drift index needs, and a request that gets a problem."""
    send(service, brightness=100, batches=13)
    wait_until(
        lambda: sample(service, "elastic_yolo_shadow_pictures_total", outcome="compared") > 0,
        "the shadow ran",
        60,
    )
    httpx.get(f"{service.url}/v2/models/unknown")


def exported(service: Service) -> dict[str, tuple[str, frozenset[str]]]:
    """Return type and labels of each metric of the project, by its name in queries."""
    text = httpx.get(f"{service.url}/metrics").text
    found = {}
    for family in text_string_to_metric_families(text):
        if not family.name.startswith("elastic_yolo_") or family.name.endswith("_created"):
            continue
        labels = {label for one in family.samples for label in one.labels} - {"le"}
        name = family.name + ("_total" if family.type == "counter" else "")
        found[name] = (family.type, frozenset(labels))
    return found


def documented() -> dict[str, tuple[str, frozenset[str], frozenset[str]]]:
    """Return type, labels and services of each metric in the tables of docs/metrics.md."""
    rows = re.findall(
        r"^\| `(elastic_yolo_\w+)` \| (\w+) \|([^|]*)\|([^|]*)\|",
        (ROOT / "docs" / "metrics.md").read_text(),
        re.MULTILINE,
    )
    assert len(rows) > 30
    return {
        name: (kind, frozenset(re.findall(r"\w+", labels)), frozenset(re.findall(r"\w+", where)))
        for name, kind, labels, where in rows
        # Those of streams: tests/stream/test_metrics.py.
        if where.strip() != "stream"
    }


def test_every_metric_is_documented_with_its_type_and_labels(stack: Stack) -> None:
    documents = documented()
    for service in (stack.web, stack.preprocess, stack.inference):
        for name, (kind, labels) in exported(service).items():
            if name.startswith("elastic_yolo_custom_") and "skipped" not in name:
                continue
            assert name in documents, f"{service.name} exports {name}"
            assert documents[name][0] == kind, name
            assert service.name in documents[name][2], f"{service.name} exports {name}"
            # A counter that has never counted has no samples, and so no labels.
            assert labels in (documents[name][1], frozenset()), name


def test_every_documented_metric_is_exported_with_samples(stack: Stack) -> None:
    # No client is known to these services: tests/services/test_identity.py.
    never = {"elastic_yolo_custom_metrics_skipped_total", "elastic_yolo_model_refusals_total",
             "elastic_yolo_model_switches_total", "elastic_yolo_client_requests_total"}  # fmt: skip
    have = {
        service.name: exported(service)
        for service in (stack.web, stack.preprocess, stack.inference)
    }
    for name, (_, labels, where) in documented().items():
        if CONDITIONAL.match(name):
            continue
        assert all(name in have[service] for service in where), name
        counted = [have[service][name][1] for service in where]
        assert name in never or labels in counted, (
            f"{name}: no service has samples with {set(labels)}"
        )


def test_metric_names_follow_the_naming_conventions(stack: Stack) -> None:
    """Of https://prometheus.io/docs/practices/naming/."""
    for service in (stack.web, stack.preprocess, stack.inference):
        for name, (kind, _) in exported(service).items():
            assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
            assert (kind == "counter") == name.endswith("_total"), name
            assert not re.search(r"_(ms|millis|milliseconds|kb|mb|percent)(_|$)", name), name


def test_a_model_exports_metrics_of_its_own(stack: Stack) -> None:
    """In Seldon's form: COUNTER, GAUGE and TIMER."""
    whose = {"model": "tiny", "version": "1"}

    def squares() -> float:
        return sample(stack.inference, "elastic_yolo_custom_squares_total", **whose)

    before = squares()
    httpx.post(f"{stack.web.url}/inference", files={"image": JPEG}).raise_for_status()
    wait_until(lambda: squares() == before + 1, "the picture is counted")

    best = sample(stack.inference, "elastic_yolo_custom_best_score", **whose)
    calm = {**whose, "mood": "calm"}
    times = sample(stack.inference, "elastic_yolo_custom_thinking_seconds_count", **calm)
    total = sample(stack.inference, "elastic_yolo_custom_thinking_seconds_sum", **calm)
    assert best == pytest.approx(0.935, abs=0.001)
    assert total == pytest.approx(times * 0.0205)


def test_each_service_counts_its_own_phases(stack: Stack) -> None:
    def phases(service: Service) -> set[str]:
        text = httpx.get(f"{service.url}/metrics").text
        return set(re.findall(r'phase_duration_seconds_count\{phase="(\w+)"', text))

    assert phases(stack.web) == set()
    assert phases(stack.preprocess) == {"decode_queue", "decode", "letterbox", "drawing_queue"}
    assert phases(stack.inference) == {"queue", "engine", "heads"}


def test_problems_are_counted_by_their_reason(stack: Stack) -> None:
    def problems(service: Service, reason: str) -> float:
        return sample(service, "elastic_yolo_problems_total", reason=reason)

    before = problems(stack.web, "not_a_picture"), problems(stack.web, "no_such_request")
    httpx.post(f"{stack.web.url}/inference", files={"image": b"no picture"})
    httpx.post(f"{stack.web.url}/nowhere")
    after = problems(stack.web, "not_a_picture"), problems(stack.web, "no_such_request")
    unknown = httpx.post(
        f"{stack.web.url}/inference", files={"image": JPEG}, params={"model": "unknown"}
    )

    assert after == (before[0] + 1, before[1] + 1)
    assert unknown.status_code == 404
    assert problems(stack.web, "tier_behind") == 1
    assert problems(stack.inference, "unknown_model") > 0


def test_quota_and_throttling_are_read_from_cgroup_v1_and_v2(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "cpu.stat").write_text(
        "usage_usec 9\nnr_periods 50\nnr_throttled 7\nthrottled_usec 1250000\n"
    )
    (tmp_path / "memory.max").write_text("536870912\n")
    older = tmp_path / "older"
    (older / "cpu").mkdir(parents=True)
    (older / "memory").mkdir()
    (older / "cpu" / "cpu.stat").write_text(
        "nr_periods 50\nnr_throttled 7\nthrottled_time 1250000000\n"
    )
    (older / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    newer, older_found = ({
        sample.name: sample.value
        for family in CgroupCollector("web", folder).collect()
        for sample in family.samples
    } for folder in (tmp_path, older))  # fmt: skip

    assert newer["elastic_yolo_memory_limit_bytes"] == 536870912
    assert "elastic_yolo_memory_limit_bytes" not in older_found
    for found in (newer, older_found):
        assert found["elastic_yolo_cpu_periods_total"] == 50
        assert found["elastic_yolo_cpu_throttled_periods_total"] == 7
        assert found["elastic_yolo_cpu_throttled_seconds_total"] == 1.25
    assert newer["elastic_yolo_cpu_quota_cores"] <= 1.5
