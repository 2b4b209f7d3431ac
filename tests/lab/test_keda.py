"""ScaledObjects: KEDA's HPA, and what KEDA does itself.

Source: kedacore/keda, pkg/scaling/executor/scale_scaledobjects.go (RequestScale).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from elastic_yolo.lab.autoscaler.keda import Activator, KedaSpec
from elastic_yolo.lab.autoscaler.spec import SCALE_UP, Metric, Policy
from elastic_yolo.lab.autoscaler.stream import STREAM_MANIFESTS, StreamTier, read_stream
from elastic_yolo.lab.errors import ManifestError
from elastic_yolo.lab.processes.stack import ROOT

WITHOUT_KEDA = ROOT / "k8s" / "components" / "stream" / "without-keda"
SCALED = """
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: consumers}
spec:
  scaleTargetRef: {name: stream}
  triggers:
    - type: redis-streams
      metadata: {address: "redis:6379", stream: cam/1.new, consumerGroup: g, lagCount: "5"}
"""
KAFKA = """
    - type: kafka
      metadata: {bootstrapServers: "kafka:9092", topic: pictures, activationLagThreshold: "3"}
"""


def read(folder: Path, text: str = SCALED) -> StreamTier:
    path = folder / "scaled.yaml"
    path.write_text(text)
    return read_stream(path)


def test_our_own_scaled_object_is_read() -> None:
    stream = read_stream(STREAM_MANIFESTS)

    assert (stream.tier.name, stream.tier.request_milli, stream.tier.limit_milli) == (
        "stream",
        1000,
        1000,
    )
    hpa = stream.tier.hpa
    assert (hpa.name, hpa.min_replicas, hpa.max_replicas) == ("keda-hpa-stream", 1, 10)
    assert hpa.metrics == (Metric("s0-redis-streams-pictures", "External", average_milli=100_000),)
    assert hpa.behavior is not None
    assert hpa.behavior.down.window_s == 120
    assert stream.keda == KedaSpec(1, None, 5, 120, 0)


def test_the_hpa_without_keda_is_the_one_that_keda_makes() -> None:
    ours, kedas = read_stream(WITHOUT_KEDA / "hpa.yaml"), read_stream(STREAM_MANIFESTS)

    assert ours.keda is None
    (metric,) = ours.tier.hpa.metrics
    assert metric == replace(kedas.tier.hpa.metrics[0], name="elastic_yolo_stream_lag")
    same = replace(ours.tier.hpa, name=kedas.tier.hpa.name, metrics=kedas.tier.hpa.metrics)
    assert replace(ours.tier, hpa=same) == kedas.tier


def test_omitted_fields_have_kedas_defaults(tmp_path: Path) -> None:
    stream = read(tmp_path)

    hpa = stream.tier.hpa
    # The HPA has no minimum of 0: KEDA starts the first pod, and removes the last one.
    assert (hpa.name, hpa.min_replicas, hpa.max_replicas) == ("keda-hpa-consumers", 1, 100)
    assert hpa.metrics == (Metric("s0-redis-streams-cam-1-new", "External", average_milli=5000),)
    assert hpa.behavior is None
    assert stream.keda == KedaSpec(0, None, 30, 300, 0)


def test_every_trigger_is_a_metric_and_the_lowest_activation_counts(tmp_path: Path) -> None:
    stream = read(tmp_path, SCALED.replace('"5"}', '"5", activationLagCount: "8"}') + KAFKA)

    assert [metric.name for metric in stream.tier.hpa.metrics] == [
        "s0-redis-streams-cam-1-new",
        "s1-kafka-pictures",
    ]
    assert stream.tier.hpa.metrics[1].average_milli == 10_000
    assert stream.keda is not None
    assert stream.keda.activation == 3


def test_a_trigger_may_have_a_target_for_the_whole_metric(tmp_path: Path) -> None:
    stream = read(tmp_path, SCALED.replace("type: redis", "metricType: Value\n      type: redis"))

    assert stream.tier.hpa.metrics[0].value_milli == 5000


def test_the_behavior_and_the_name_of_the_hpa_are_kedas_to_set(tmp_path: Path) -> None:
    config = "{name: mine, behavior: {scaleDown: {stabilizationWindowSeconds: 7}}}"
    advanced = f"  advanced: {{horizontalPodAutoscalerConfig: {config}}}\n"

    hpa = read(tmp_path, SCALED + advanced).tier.hpa

    assert hpa.name == "mine"
    assert hpa.behavior is not None
    assert (hpa.behavior.up, hpa.behavior.down.window_s) == (SCALE_UP, 7)
    assert hpa.behavior.down.policies == (Policy("Percent", 100, 15),)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("lagCount", "pendingEntriesCount", "trigger 0: the lab knows redis-streams with lagCount"),
        ("redis-streams", "cpu", "trigger 0: the lab knows redis-streams with lagCount, kafka"),
        ('"5"', '"some"', "lagCount: 'some' is not a whole number"),
        ('"5"', '"0"', "trigger 0: the target is not above 0"),
        ("name: stream}", "name: other}", "scales other, but no manifest has it"),
        ("name: stream}", "name: stream, kind: StatefulSet}", "scaleTargetRef.kind: Input should"),
        ("triggers:", "minReplicaCount: 101\n  triggers:", "maxReplicaCount is less than"),
        ("triggers:", "idleReplicaCount: 0\n  triggers:", "idleReplicaCount is not less than"),
        ("keda.sh/v1alpha1", "keda.k8s.io/v1alpha1", "apiVersion: Input should be"),
        ("kind: ScaledObject", "kind: Secret", "no ScaledObject or HorizontalPodAutoscaler"),
    ],
)
def test_what_cannot_be_simulated_is_one_line(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    with pytest.raises(ManifestError) as error:
        read(tmp_path, SCALED.replace(old, new))

    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_one_consumer_is_read_at_a_time(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="several autoscalers"):
        read(tmp_path, f"{SCALED}---{SCALED}")


def test_an_hpa_of_cpu_does_not_scale_on_a_stream(tmp_path: Path) -> None:
    hpa = yaml.safe_load((WITHOUT_KEDA / "hpa.yaml").read_text())
    del hpa["spec"]["metrics"]

    with pytest.raises(ManifestError, match="stream has no External metric"):
        read(tmp_path, yaml.safe_dump(hpa))


ZERO = KedaSpec(least=0, idle=None, polling_s=30, cooldown_s=300, activation=2)


def decisions(spec: KedaSpec, *steps: tuple[float, int, int]) -> list[int | None]:
    """Return what KEDA decides at each time, with that many pods and that lag."""
    activator = Activator(spec)
    changes = [activator.decide(*step) for step in steps]
    return [change and change.replicas for change in changes]


def test_the_first_pod_starts_when_the_lag_exceeds_the_activation() -> None:
    assert decisions(ZERO, (0, 0, 2), (30, 0, 3), (60, 1, 3)) == [None, 1, None]


def test_the_last_pods_go_when_the_cooldown_is_over() -> None:
    active, quiet = (0, 4, 50), [(at, 4, 0) for at in (30, 300, 330)]

    assert decisions(ZERO, active, *quiet) == [None, None, None, 0]


def test_pods_that_never_had_anything_to_do_go_at_once() -> None:
    assert decisions(ZERO, (0, 1, 0)) == [0]


def test_with_a_minimum_keda_leaves_the_pods_to_the_hpa() -> None:
    one = replace(ZERO, least=1)

    assert decisions(one, (0, 3, 50), (400, 3, 0), (800, 1, 0)) == [None, None, None]
    assert decisions(one, (0, 0, 0), (30, 0, 50)) == [1, 1]


def test_idle_pods_are_fewer_than_the_minimum() -> None:
    idle = replace(ZERO, least=3, idle=0)

    assert decisions(idle, (0, 0, 0), (30, 0, 9), (60, 3, 0), (400, 3, 0)) == [None, 3, None, 0]


@given(
    st.integers(0, 3),
    st.integers(0, 5),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 10)), max_size=30),
)
def test_without_a_lag_above_the_activation_no_pod_is_started(
    least: int, activation: int, course: list[tuple[int, int]]
) -> None:
    activator = Activator(replace(ZERO, least=least, activation=activation))
    for number, (current, lag) in enumerate(course):
        change = activator.decide(30.0 * number, current, lag)
        if change is None:
            continue
        assert change.replicas != current
        if change.replicas > current:
            assert lag > activation or change.replicas == least
        else:
            assert (change.replicas, least) == (0, 0)
            assert lag <= activation
