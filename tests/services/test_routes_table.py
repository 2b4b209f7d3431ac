"""The table of routes: what is refused and why, which route matches, and how weights share."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from elastic_yolo.lab.processes.stack import ROOT
from services.common.core.picture_route import read_route_headers
from services.common.request.context import hash_point
from services.common.request.errors import MalformedRequest
from services.common.request.identity import Identity
from services.preprocess.routing.etcd import EtcdAddress
from services.preprocess.routing.table import Table, TableError, load_table
from tests.support.tiny import write_tiny_model
from tests.support.versions import Versions

BACKENDS = """
backends:
  cpu: {url: "http://cpu:4002"}
  darknet: {url: "http://darknet:4002"}
"""


def load(text: str, inference_url: str | None = None) -> Table:
    return load_table(text, "routes.yaml", inference_url)


def chosen(table: Table, model: str | None, uid: str = "0" * 32, **headers: str) -> str | None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    route = table.find_route(model, named)
    return None if route is None else route.pick(uid)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "routes: Field required"),
        ("routes: []", "routes: expected at least 1, found 0"),
        ("- cpu", "the whole file: expected a map of names and values"),
        (BACKENDS + "routs: []", "routs: unknown field, did you mean routes?"),
        (BACKENDS + "routes: [{backend: cpu}]", "did you mean backends?"),
        ("backends: {cpu: {ulr: x}}", "backends.cpu.ulr: unknown field, did you mean url?"),
        ("backends: {cpu: {url: cpu}}", "backends.cpu.url: Input should be a valid URL"),
        ("backends: {cpu: {url: 'http://u:p@cpu'}}", "without a path, a query or a user"),
        ("backends: {a/b: {url: 'http://cpu'}}", "expected at most 100 letters"),
        (BACKENDS + "routes: [{backends: cpuu}]", "no back end 'cpuu', did you mean cpu?"),
        (BACKENDS + "routes: [{backends: {cpu: 0}}]", "at least one weight must be more than 0"),
        (
            BACKENDS + "routes: [{backends: {cpu: many}}]",
            "backends.cpu: expected a whole number",
        ),
        (
            BACKENDS + "routes: [{backends: cpu, headers: {Authorization: x}}]",
            "expected a header x-route-*",
        ),
        ("backends: {t: {url: 'http://t', heads: [a]}}", "heads needs files"),
        ("backends: {t: {url: 'http://t', files: /m}}", "needs either heads, or detections"),
        (
            "backends: {t: {url: 'http://t', files: /m, detections: d}}",
            "expected detections and counts together",
        ),
        (
            "backends: {t: {url: 'http://t', files: /m, heads: [a], full_scale: 2}}",
            "full_scale: expected 255 or 1",
        ),
        (BACKENDS + "routes: [*cpu]", "not valid YAML"),
        (BACKENDS + "routes: [{backends: cpu}]\nroutes: []", "a name that is there already"),
        (
            BACKENDS + "routes: [{backends: cpu, headers: {X-Route-A: x, x-route-a: y}}]",
            "expected each header once",
        ),
    ],
)
def test_a_wrong_table_is_refused_with_one_line(text: str, reason: str) -> None:
    with pytest.raises(TableError) as caught:
        load(text)

    assert reason in str(caught.value)
    assert str(caught.value).startswith("routes.yaml")
    assert "\n" not in str(caught.value)


def test_the_files_of_a_back_end_are_read_with_the_table(tmp_path: Path) -> None:
    """Weights are not needed: they are the server's."""
    folder = write_tiny_model(tmp_path / "tiny", manifest="threshold: 0.25\nresize: stretch\n")
    (folder / "tiny.weights").unlink()
    backends = "backends: {t: {url: 'http://t', files: %s, heads: [%s]}}\nroutes: [{backends: t}]"

    decoder = load(backends % (folder, "out")).backends["t"].decoder
    with pytest.raises(TableError, match=r"backends\.t\.files: tiny\.cfg has 1 heads, not 2"):
        load(backends % (folder, "a, b"))
    with pytest.raises(TableError, match=r"backends\.t\.files: .*no such folder"):
        load(backends % (tmp_path / "nowhere", "out"))

    assert decoder is not None
    assert (decoder.name, decoder.threshold, str(decoder.input_format)) == (
        "tiny",
        0.25,
        "32x32 stretch",
    )


def test_relative_files_start_at_the_folder_of_the_table(tmp_path: Path) -> None:
    """Of a folder, and of a model in a store, which has name and version of its own."""
    store = Versions(tmp_path)
    store.publish("7", "square")
    write_tiny_model(tmp_path / "folder")
    text = """
backends:
  folder: {url: "http://t", files: folder, heads: [out]}
  store: {url: "http://t", files: "store:store/tiny@stable", heads: [out]}
routes: [{backends: {folder: 1, store: 1}}]
"""

    backends = load_table(text, "routes.yaml", None, tmp_path).backends

    folder, of_store = backends["folder"].decoder, backends["store"].decoder
    assert folder is not None
    assert of_store is not None
    assert (folder.name, folder.version) == ("tiny", "1")
    assert (of_store.name, of_store.version) == ("tiny", "7")


def test_the_table_of_the_kubernetes_component_is_valid() -> None:
    """Also with the back ends that it has as comments; the model folder is not here."""
    text = (ROOT / "k8s" / "components" / "routes" / "routes.yaml").read_text()
    with_examples = "\n".join(
        line.removeprefix("# ") if line.startswith(("# backends", "#   ")) else line
        for line in text.splitlines()
    )

    assert list(load(text, "http://inference:4002").backends) == ["inference"]
    with pytest.raises(TableError, match=r"triton\.files: /models/yolov3-tiny: no such folder"):
        load(with_examples, "http://inference:4002")


def test_a_tenant_is_the_one_that_web_names_whatever_its_characters() -> None:
    table = load(BACKENDS + 'routes: [{tenant: "Müller & Co, 100%", backends: cpu}]')
    header = Identity("key", "ci", "Müller & Co, 100%").to_header()

    assert chosen(table, None, **header) == "cpu"
    assert chosen(table, None) is None


def test_the_first_route_that_matches_wins() -> None:
    table = load(
        BACKENDS
        + """
routes:
  - {model: [tiny, small], headers: {X-Route-Pool: gold}, backends: darknet}
  - {model: tiny, tenant: [acme, zenith], backends: darknet}
  - {model: tiny, backends: cpu}
  - {tenant: acme, backends: cpu}
"""
    )

    assert chosen(table, "small", x_route_pool="gold") == "darknet"
    assert chosen(table, "tiny", x_route_pool="silver") == "cpu"
    assert chosen(table, "tiny", x_tenant="zenith") == "darknet"
    assert chosen(table, "tiny", x_tenant="other") == "cpu"
    assert chosen(table, "large", x_tenant="acme") == "cpu"
    assert chosen(table, None, x_tenant="acme") == "cpu"
    assert chosen(table, None, x_route_pool="gold") is None
    assert chosen(table, "small") is None


def test_inference_is_a_back_end_where_inference_url_is_set() -> None:
    table = load("routes: [{backends: inference}]", "http://a:1,http://b:1")

    assert table.backends["inference"].config.url == "http://a:1,http://b:1"
    with pytest.raises(TableError, match="is the one of INFERENCE_URL: remove one of the two"):
        load("backends: {inference: {url: 'http://c:1'}}\nroutes: []", "http://a:1")


def test_requests_are_shared_by_weight() -> None:
    """Ids that count up: the share of 4,000 is within four standard deviations, 0.019."""
    (route,) = load(BACKENDS + "routes: [{backends: {cpu: 9, darknet: 1}}]").routes
    picked = [route.pick(f"{number:032x}") for number in range(4000)]

    assert picked.count("darknet") / len(picked) == pytest.approx(0.1, abs=0.019)
    assert picked == [route.pick(f"{number:032x}") for number in range(4000)]


def test_a_back_end_with_weight_0_gets_nothing() -> None:
    (route,) = load(BACKENDS + "routes: [{backends: {cpu: 0, darknet: 1}}]").routes

    assert {route.pick(f"{number:032x}") for number in range(200)} == {"darknet"}


def test_the_choice_is_independent_of_the_one_of_inference() -> None:
    """Otherwise the tenth of requests that darknet gets would all be for one of its versions."""
    (route,) = load(BACKENDS + "routes: [{backends: {cpu: 9, darknet: 1}}]").routes
    uids = [f"{number:032x}" for number in range(10_000)]
    points = [hash_point(uid, 100) for uid in uids if route.pick(uid) == "darknet"]

    assert sum(point < 50 for point in points) / len(points) == pytest.approx(0.5, abs=0.07)


@given(st.text(max_size=40), st.integers(1, 10**6), st.binary(max_size=16))
def test_a_point_is_below_the_total(uid: str, total: int, purpose: bytes) -> None:
    assert 0 <= hash_point(uid, total, purpose) < total


def test_web_passes_on_route_headers_only() -> None:
    sent = {"X-Route-Pool": "gold", "X-Tenant": "acme", "Cookie": "x", "x-route-b": "c"}

    assert read_route_headers(Headers(sent)) == {"x-route-pool": "gold", "x-route-b": "c"}


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ([(b"x-route-%d" % number, b"1") for number in range(9)], "at most 8 headers"),
        ([(b"x-route-a", b"x" * 201)], "x-route-a: expected at most 200 characters in each"),
        ([(b"x-route-" + b"a" * 200, b"x")], "expected at most 200 characters"),
        ([(b"x-route-a", b"1"), (b"x-route-a", b"2")], "x-route-a: given several times"),
    ],
)
def test_many_or_long_route_headers_are_refused(
    raw: list[tuple[bytes, bytes]], reason: str
) -> None:
    """An attack: 60 KB of headers, which web would copy to the next service."""
    with pytest.raises(MalformedRequest, match=reason):
        read_route_headers(Headers(raw=raw))


def test_an_address_in_etcd_has_hosts_and_a_key() -> None:
    address = EtcdAddress.parse("etcd://a:2379,[::1]:2379/elastic-yolo/routes")

    assert address == EtcdAddress(("a:2379", "[::1]:2379"), "elastic-yolo/routes")


@pytest.mark.parametrize(
    "text",
    ["etcd://", "etcd://a:1", "etcd://a:1/", "etcd://a/k", "etcd://u:p@a:1/k", "etcd://a:x/k"],
)
def test_other_addresses_in_etcd_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected etcd://host:port/key"):
        EtcdAddress.parse(text)
