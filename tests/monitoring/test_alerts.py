"""Every alert fires when it should and only then: promtool evaluates the rules over series."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.support.monitoring import RULES, needs_prometheus, promtool

Series = dict[str, str]

ANSWERED = 'elastic_yolo_requests_total{service="web",route="/inference",status="200"}'
FAILED = 'elastic_yolo_requests_total{service="web",route="/inference",status="503"}'
REFUSED = 'elastic_yolo_requests_total{service="web",route="/inference",status="429"}'
COUNT = 'elastic_yolo_request_duration_seconds_count{service="web",route="/inference"}'
WITHIN = 'elastic_yolo_request_duration_seconds_bucket{service="web",route="/inference",le="1.0"}'
QUEUE = 'elastic_yolo_queue_%s{service="inference",queue="queue",pod="a"}'
HPA = 'kube_horizontalpodautoscaler_%s{namespace="n",horizontalpodautoscaler="web"}'
DESIRED, MOST = HPA % "status_desired_replicas", HPA % "spec_max_replicas"
REACHABLE = 'elastic_yolo_peer_reachable{service="web",peer="preprocess",pod="%s"}'
EJECTIONS = 'elastic_yolo_peer_ejections_total{service="web",peer="preprocess"}'
PERIODS = 'elastic_yolo_cpu_%s_total{service="web"}'
LAG = 'elastic_yolo_event_loop_lag_seconds_bucket{service="web",le="%s"}'
MODEL_REFUSED = 'elastic_yolo_model_refused{model="m",channel="stable",pod="%s"}'
GOLDEN = 'elastic_yolo_model_golden_agrees{model="m",version="1",digest="d",pod="%s"}'
INFO = 'elastic_yolo_model_info{model="m",channel="%s",digest="%s",pod="%s"}'
POLL = 'elastic_yolo_model_poll_seconds{pod="%s"}'
WEB = 'elastic_yolo_requests_in_flight{service="web"%s}'
LOOKED = 'elastic_yolo_model_looked_timestamp_seconds{model="m",channel="stable",pod="%s"}'
PSI = 'elastic_yolo_drift_psi{model="m",version="1",digest="d",feature="score"}'
SUCCESS = 'kube_cronjob_status_last_successful_time{cronjob="models"}'
CREATED = 'kube_cronjob_created{cronjob="models"}'
STREAM = 'elastic_yolo_stream_lag{source="s",pod="%s"}'
MESSAGES = 'elastic_yolo_stream_messages_total{source="s",outcome="%s",pod="a"}'
KEDA = 'kube_horizontalpodautoscaler_%s{horizontalpodautoscaler="keda-hpa-inference"}'


@dataclass(frozen=True)
class Case:
    """Series in which an alert fires after some minutes, and series in which it does not."""

    alert: str
    labels: dict[str, str]
    fires: Series
    quiet: tuple[Series, ...]
    minutes: int = 90


CASES = (
    Case(
        "ErrorBudgetBurnsFast",
        {"severity": "critical"},
        {ANSWERED: "0+90x400", FAILED: "0+10x400"},
        (
            {ANSWERED: "0+95x400", FAILED: "0+5x400"},
            # Bad before, and good again.
            {ANSWERED: "0+90x400", FAILED: "0+10x80 800x320"},
        ),
    ),
    Case(
        "ErrorBudgetBurns",
        {"severity": "warning"},
        {ANSWERED: "0+95x500", FAILED: "0+5x500"},
        ({ANSWERED: "0+98x500", FAILED: "0+2x500"},),
        minutes=400,
    ),
    Case(
        "PicturesAreSlow",
        {"severity": "warning"},
        {COUNT: "0+100x90", WITHIN: "0+98x90"},
        ({COUNT: "0+1000x90", WITHIN: "0+995x90"},),
    ),
    Case(
        "RequestsRefused",
        {"severity": "warning"},
        {ANSWERED: "0+90x90", REFUSED: "0+10x90"},
        ({ANSWERED: "0+96x90", REFUSED: "0+4x90"},),
    ),
    Case(
        "QueueNearlyFull",
        {"severity": "warning", "service": "inference", "queue": "queue"},
        {QUEUE % "waiting": "110x90", QUEUE % "limit": "128x90"},
        ({QUEUE % "waiting": "90x90", QUEUE % "limit": "128x90"},),
    ),
    Case(
        "AutoscalerAtItsMaximum",
        {"severity": "warning", "namespace": "n", "horizontalpodautoscaler": "web"},
        {DESIRED: "10x90", MOST: "10x90", WEB % ',namespace="n"': "1x90"},
        (
            {DESIRED: "9x90", MOST: "10x90", WEB % ',namespace="n"': "1x90"},
            # The autoscaler of another application's web.
            {DESIRED: "10x90", MOST: "10x90", WEB % ',namespace="ours"': "1x90"},
        ),
    ),
    Case(
        "NobodyBehind",
        {"severity": "critical", "service": "web", "peer": "preprocess"},
        # One of two pods of web: NetworkPolicy or DNS there.
        {REACHABLE % "a": "0x90", REACHABLE % "b": "1x90"},
        ({REACHABLE % "a": "1x90", REACHABLE % "b": "1x90"},),
    ),
    Case(
        "ProcessesAreEjected",
        {"severity": "warning", "service": "web", "peer": "preprocess"},
        {EJECTIONS: "0+1x90"},
        ({EJECTIONS: "3x90"},),
    ),
    Case(
        "CpuThrottled",
        {"severity": "warning", "service": "web"},
        {PERIODS % "periods": "0+600x90", PERIODS % "throttled_periods": "0+300x90"},
        ({PERIODS % "periods": "0+600x90", PERIODS % "throttled_periods": "0+60x90"},),
    ),
    Case(
        "EventLoopLate",
        {"severity": "warning", "service": "web"},
        {LAG % "0.25": "0+117x90", LAG % "0.5": "0+120x90", LAG % "+Inf": "0+120x90"},
        ({LAG % "0.25": "0+120x90", LAG % "0.5": "0+120x90", LAG % "+Inf": "0+120x90"},),
    ),
    Case(
        "ModelVersionRefused",
        {"severity": "warning", "model": "m", "channel": "stable"},
        {MODEL_REFUSED % "a": "0x90", MODEL_REFUSED % "b": "1x90"},
        ({MODEL_REFUSED % "a": "0x90", MODEL_REFUSED % "b": "1x80 0x10"},),
    ),
    Case(
        "ModelGoldenDisagrees",
        {"severity": "critical", "model": "m", "version": "1"},
        {GOLDEN % "a": "1x90", GOLDEN % "b": "0x90"},
        ({GOLDEN % "a": "1x90", GOLDEN % "b": "1x90"},),
    ),
    Case(
        "ModelVersionsDiffer",
        {"severity": "warning", "model": "m", "channel": "stable"},
        {INFO % ("stable", "d", "a"): "1x90", INFO % ("stable", "e", "b"): "1x90"},
        (
            {INFO % ("stable", "d", "a"): "1x90", INFO % ("stable", "d", "b"): "1x90"},
            {INFO % ("stable", "d", "a"): "1x90", INFO % ("next", "e", "a"): "1x90"},
        ),
    ),
    Case(
        "ModelStoreHangs",
        {"severity": "warning", "model": "m", "channel": "stable"},
        {LOOKED % "a": "0+60x90", LOOKED % "b": "0+60x75 4500x20", POLL % "a": "5x90"},
        (
            {LOOKED % "a": "0+60x90", LOOKED % "b": "0+60x90", POLL % "a": "5x90"},
            # A service that polls once an hour does not hang.
            {LOOKED % "a": "0+60x75 4500x20", POLL % "a": "3600x90"},
        ),
    ),
    Case(
        "ModelOutdated",
        {"severity": "warning", "model": "m", "version": "1", "feature": "score"},
        {PSI: "0.3x90"},
        ({PSI: "0.2x90"}, {PSI: "0.1x50 0.3x40"}),
    ),
    Case(
        "ProvisioningFails",
        {"severity": "warning", "cronjob": "models"},
        {SUCCESS: "0x90", WEB % "": "1x90"},
        (
            {SUCCESS: "0+60x90", CREATED: "0x90", WEB % "": "1x90"},
            {SUCCESS: "0x90", WEB % ',namespace="ours"': "1x90"},
        ),
    ),
    Case(
        "StreamStands",
        {"severity": "critical", "source": "s"},
        {STREAM % "a": "7x90", MESSAGES % "answered": "0+60x70 4200x20"},
        (
            {STREAM % "a": "7x90", MESSAGES % "answered": "0+60x90"},
            {STREAM % "a": "0x90", MESSAGES % "answered": "4200x90"},
            # Pictures came a moment ago.
            {STREAM % "a": "0x88 7x2", MESSAGES % "answered": "4200x90"},
        ),
    ),
    Case(
        "StreamLagGrows",
        {"severity": "warning", "source": "s"},
        {STREAM % "a": "0+90x90", STREAM % "b": "0+90x90", MESSAGES % "answered": "0+60x90"},
        (
            {STREAM % "a": "9000-90x90", MESSAGES % "answered": "0+60x90"},
            # Each picture is answered a while after it came.
            {STREAM % "a": "0 5x90", MESSAGES % "answered": "0+60x90"},
            {STREAM % "a": "0+90x20 1800-90x20 0x50", MESSAGES % "answered": "0+60x90"},
        ),
    ),
    Case(
        "StreamRejects",
        {"severity": "warning", "source": "s"},
        {MESSAGES % "rejected": "0x80 1x10"},
        ({MESSAGES % "rejected": "0x40 1x50"}, {MESSAGES % "answered": "0+60x90"}),
    ),
    # The job never succeeded.
    Case(
        "ProvisioningFails",
        {"severity": "warning", "cronjob": "models"},
        {CREATED: "0x90", WEB % "": "1x90"},
        ({CREATED: "3600x90", WEB % "": "1x90"},),
    ),
    Case(
        "AutoscalerAtItsMaximum",
        {"severity": "warning", "horizontalpodautoscaler": "keda-hpa-inference"},
        {
            KEDA % "status_desired_replicas": "10x90",
            KEDA % "spec_max_replicas": "10x90",
            WEB % "": "1x90",
        },
        (),
    ),
)


def unit_test(case: Case, series: Series, *, fires: bool) -> dict[str, object]:
    """Return the test of one alert in promtool's form."""
    return {
        "name": f"{case.alert} {'fires' if fires else 'is quiet'}",
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [
            {
                "eval_time": f"{case.minutes}m",
                "alertname": case.alert,
                "exp_alerts": [{"exp_labels": case.labels}] if fires else [],
            }
        ],
    }


def evaluate(folder: Path, tests: list[dict[str, object]]) -> None:
    """Let promtool evaluate all rules over the series of each test."""
    rules = yaml.safe_load(RULES.read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            # promtool compares annotations as well; their text is not tested.
            rule.pop("annotations", None)
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    file = folder / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": tests}))
    promtool("test", "rules", file)


@needs_prometheus
def test_every_alert_fires_when_it_should(tmp_path: Path) -> None:
    evaluate(tmp_path, [unit_test(case, case.fires, fires=True) for case in CASES])


@needs_prometheus
def test_every_alert_is_silent_when_it_should_be(tmp_path: Path) -> None:
    quiet = [unit_test(case, series, fires=False) for case in CASES for series in case.quiet]
    assert len(quiet) >= len(CASES)
    evaluate(tmp_path, quiet)


def test_every_alert_has_a_case_and_a_summary() -> None:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    alerts = {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}

    assert alerts.keys() == {case.alert for case in CASES}
    for name, rule in alerts.items():
        assert rule["annotations"]["summary"].endswith((".", "?")), name
        assert rule["labels"]["severity"] in ("critical", "warning"), name
        assert rule["for"], name


@needs_prometheus
def test_promtool_accepts_the_rules() -> None:
    assert "SUCCESS" in promtool("check", "rules", RULES)
