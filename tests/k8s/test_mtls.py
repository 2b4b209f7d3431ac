"""The component mtls: cert-manager accepts its resources, and metrics are still scraped."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from tests.k8s.foreign_schemas import faults
from tests.support.rendered import (
    Manifest,
    matches,
    name_of,
    of_kind,
    parse,
    pod_templates,
    render_with,
)

TIERS = ("web", "preprocess", "inference")


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    """The component with all those that it changes."""
    used = ["gpu", "ingress", "monitoring", "stream", "mtls"]
    return parse(render_with(used, tmp_path_factory.mktemp("mtls")))


def test_cert_manager_accepts_certificates_and_issuers(rendered: list[Manifest]) -> None:
    ours = of_kind(rendered, "Certificate", "Issuer")

    assert [fault for one in ours for fault in faults(one)] == []
    assert {name_of(one) for one in ours} == {
        *("self-signed", "tiers-ca"),
        *(f"{tier}-tls" for tier in TIERS),
    }


def test_the_schema_refuses_a_property_that_cert_manager_does_not_know(
    rendered: list[Manifest],
) -> None:
    wrong = copy.deepcopy(of_kind(rendered, "Certificate")[0])
    wrong["spec"]["renewBefor"] = "1h"
    found = faults(wrong)

    assert len(found) == 2
    assert all("renewBefor" in fault for fault in found)


@pytest.mark.parametrize("component", ["keda", "scale-to-zero"])
def test_keda_reads_the_metrics_of_web_at_the_port_without_tls(
    component: str, tmp_path: Path
) -> None:
    rendered = parse(render_with([component, "mtls"], tmp_path))
    (web,) = [one for one in of_kind(rendered, "Service") if name_of(one) == "web"]
    (policy,) = [one for one in of_kind(rendered, "NetworkPolicy") if name_of(one) == "keda"]

    scaled = of_kind(rendered, "ScaledObject")
    urls = {one["spec"]["triggers"][0]["metadata"]["url"] for one in scaled}
    assert urls == {"http://web.elastic-yolo.svc:8081/metrics"}
    # KEDA's port is that of the pod, which one of the Service's ports must lead to.
    ports = {one["name"]: (one["port"], one["targetPort"]) for one in web["spec"]["ports"]}
    assert ports == {"http": (5000, "http"), "probes": (8081, "probes")}
    assert policy["spec"]["ingress"][0]["ports"] == [{"protocol": "TCP", "port": "probes"}]


def test_every_certificate_comes_from_the_ca_and_the_ca_from_itself(
    rendered: list[Manifest],
) -> None:
    issuers = {name_of(one): one["spec"] for one in of_kind(rendered, "Issuer")}
    certificates = {name_of(one): one["spec"] for one in of_kind(rendered, "Certificate")}
    by = {name: spec["issuerRef"]["name"] for name, spec in certificates.items()}

    assert by == {"tiers-ca": "self-signed"} | {f"{tier}-tls": "tiers-ca" for tier in TIERS}
    assert issuers["tiers-ca"] == {"ca": {"secretName": certificates["tiers-ca"]["secretName"]}}
    assert certificates["tiers-ca"]["isCA"] is True


def test_pods_on_gpu_nodes_have_the_certificate_of_their_service(rendered: list[Manifest]) -> None:
    pods = dict(pod_templates(rendered))
    for name in ("inference", "inference-gpu"):
        (volume,) = [one for one in pods[name]["spec"]["volumes"] if one["name"] == "tls"]
        assert volume["secret"]["secretName"] == "inference-tls"
        # Readable for the group of the process, and for nobody else.
        assert volume["secret"]["defaultMode"] == 0o440


def test_metrics_of_all_pods_are_scraped_without_tls(rendered: list[Manifest]) -> None:
    """On the ports that network policies open; streams have no TLS, and another port."""
    (monitor,) = of_kind(rendered, "PodMonitor")
    endpoints = {one["port"]: one for one in monitor["spec"]["podMetricsEndpoints"]}
    policies = {name_of(one): one["spec"] for one in of_kind(rendered, "NetworkPolicy")}
    for name, template in pod_templates(rendered):
        labels = template["metadata"]["labels"]
        if not matches(monitor["spec"]["selector"], labels):
            continue
        (container,) = template["spec"]["containers"]
        port = "probes" if labels["app.kubernetes.io/name"] in TIERS else "http"
        policy = policies["metrics" if port == "probes" else "stream"]

        assert port in endpoints
        assert port in {one["name"] for one in container["ports"]}, name
        assert policy["ingress"][0]["ports"] == [{"protocol": "TCP", "port": port}]
    (keep,) = endpoints["http"]["relabelings"]
    assert (keep["action"], keep["regex"]) == ("keep", "stream")


def test_the_ingress_speaks_tls_with_web(rendered: list[Manifest]) -> None:
    (ingress,) = of_kind(rendered, "Ingress")
    annotations = ingress["metadata"]["annotations"]

    assert annotations["nginx.ingress.kubernetes.io/backend-protocol"] == "HTTPS"


def test_the_component_alone_names_the_same_port_everywhere(tmp_path: Path) -> None:
    rendered = parse(render_with(["mtls"], tmp_path))
    ports = {
        port["containerPort"]
        for name, template in pod_templates(rendered)
        for container in template["spec"]["containers"]
        for port in container.get("ports", [])
        if port["name"] == "probes" and name in TIERS
    }
    stated = {one["data"].get("METRICS_PORT") for one in of_kind(rendered, "ConfigMap")} - {None}

    assert ports == {8081}
    assert stated == {"8081"}
