"""The dashboard and the rules, with a real Prometheus that scrapes the real services."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from elastic_yolo.detector.profile import FILE
from elastic_yolo.lab.processes.stack import ROOT, Stack
from tests.support.load import Load
from tests.support.monitoring import (
    DASHBOARD,
    RULES,
    ask,
    needs_prometheus,
    prometheus,
    promtool,
)
from tests.support.publishing import publish
from tests.support.tiny import reference_of_squares, write_tiny_model
from tests.support.versions import JPEG
from tests.support.waiting import wait_until
from tools.kubernetes_rules import TARGET, as_resource

# Exported by Kubernetes, or only with a cgroup v2: not available in this test.
ELSEWHERE = re.compile(r"kube_|cpu_(throttled_)?periods")
# Exported after failures only.
NOT_NOW = re.compile(r"model_switches_total|problems_total")


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def queries() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def metrics_in(text: str) -> set[str]:
    names = re.findall(r"\belastic_yolo_[a-z0-9_]+", text)
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}


def test_dashboard_and_rules_use_metrics_that_exist() -> None:
    documented = set(re.findall(r"`(elastic_yolo_\w+)`", (ROOT / "docs/metrics.md").read_text()))

    assert metrics_in(" ".join(queries())) <= documented
    assert metrics_in(RULES.read_text()) <= documented


def test_every_panel_has_a_description() -> None:
    identities = [panel["id"] for panel in panels()]
    assert len(set(identities)) == len(identities) > 20
    for panel in panels():
        assert panel["description"].endswith((".", ")")), panel["title"]


def test_kubernetes_has_the_same_rules() -> None:
    assert TARGET.read_text() == as_resource(RULES.read_text())
    assert yaml.safe_load(TARGET.read_text())["spec"] == yaml.safe_load(RULES.read_text())


@needs_prometheus
def test_promtool_accepts_both_configurations() -> None:
    for name in ("prometheus.yml", "prometheus.laptop.yml"):
        promtool("check", "config", ROOT / "monitoring" / name)


def fill_store(root: Path) -> str:
    """Publish a model with a drift reference; return its MODEL_PATH."""
    model = write_tiny_model(root / "source")
    (model / FILE).write_bytes(reference_of_squares(brightness=99))
    publish(root / "store", {path.name: path.read_bytes() for path in model.iterdir()}, name="tiny")
    return f"store:{root / 'store'}/tiny@stable"


@pytest.mark.long
@needs_prometheus
def test_every_query_of_the_dashboard_has_data_under_load(tmp_path: Path) -> None:
    env = {"inference": {"MODEL_PATH": fill_store(tmp_path)}}
    with Stack(logs=tmp_path, env=env) as stack:
        targets = [service.url.removeprefix("http://") for service in stack.services]
        load = Load(f"{stack.web.url}/inference", JPEG, lambda _: True)
        jobs = {"elastic-yolo": targets}
        with prometheus(tmp_path, jobs, [RULES]) as url, load.running():
            load.wait_for(300)
            asked = [
                query.replace("$__rate_interval", "30s").replace("$namespace", ".*")
                for query in queries()
            ]
            here = [query for query in asked if not ELSEWHERE.search(query)]
            sure = [query for query in here if not NOT_NOW.search(query)]
            for query in sure:
                wait_until(lambda: bool(ask(url, query)), query, 60)  # noqa: B023
            for query in asked:
                ask(url, query)
            firing = httpx.get(f"{url}/api/v1/alerts").json()["data"]["alerts"]

    assert len(sure) > 25
    assert set(load.statuses) == {200}
    assert [alert["labels"]["alertname"] for alert in firing if alert["state"] == "firing"] == []
