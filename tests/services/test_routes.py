"""Pictures reach the back end that the table of routes names, and failures say what is wrong."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from elastic_yolo.lab.processes.stack import Service, free_port
from tests.services.test_settings import start
from tests.support.load import Load
from tests.support.routing import JPEG, Routed, inference, routed
from tests.support.tiny import write_tiny_model
from tests.support.waiting import wait_until

TOKEN = "let me in, please"  # noqa: S105


@dataclass(frozen=True)
class Backends:
    """Two inference services: `a` has tiny and wide, `b` has tiny, with other labels."""

    a: Service
    b: Service

    @property
    def entries(self) -> dict[str, Any]:
        return {"a": {"url": self.a.url}, "b": {"url": self.b.url}}

    def table(self, *routes: dict[str, Any]) -> dict[str, Any]:
        return {"backends": self.entries, "routes": list(routes)}


@contextmanager
def two_backends(folder: Path) -> Iterator[Backends]:
    first = write_tiny_model(folder / "a", manifest="version: a\n")
    wide = write_tiny_model(folder / "wide", width=64, manifest="name: wide\nversion: a\n")
    second = write_tiny_model(folder / "b", manifest="version: b\n")
    (second / "tiny.names").write_text("box\ncircle\n")
    env = {"MODEL_WIDE_PATH": str(wide), "REPOSITORY_TOKEN": TOKEN}
    with inference(folder, first, **env) as a, inference(folder, second) as b:
        yield Backends(a, b)


@pytest.fixture(scope="module")
def backends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backends]:
    """Shared by the tests that stop none of them."""
    with two_backends(tmp_path_factory.mktemp("backends")) as running:
        yield running


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory, backends: Backends) -> Iterator[Routed]:
    """Services with one table, for tests that do not change it."""
    table = backends.table(
        {"model": "tiny", "headers": {"X-Route-Pool": "b"}, "backends": "b"},
        {"model": "tiny", "tenant": "acme", "backends": "b"},
        {"model": "tiny", "headers": {"X-Route-Pool": "shared"}, "backends": {"a": 3, "b": 1}},
        {"model": "wide", "tenant": "zenith", "backends": "b"},
        {"backends": "a"},
    )
    with routed(tmp_path_factory.mktemp("routed"), table) as running:
        yield running


def version(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    return str(response.json()["model"]["version"])


def test_the_models_that_a_caller_may_name_are_listed_by_the_table(services: Routed) -> None:
    def versions(**headers: str) -> dict[str, str]:
        listed = httpx.get(f"{services.web.url}/models", headers=headers).json()
        assert listed["default"]["name"] == "tiny"
        return {model["name"]: model["version"] for model in listed["models"]}

    assert versions() == {"tiny": "a", "wide": "a"}
    assert versions(**{"X-Route-Pool": "b"}) == {"tiny": "b", "wide": "a"}


def test_the_list_of_models_fails_if_no_back_end_can_be_asked(tmp_path: Path) -> None:
    nowhere = {"nowhere": {"url": f"http://127.0.0.1:{free_port()}"}}
    table = {"backends": nowhere, "routes": [{"backends": "nowhere"}]}
    with (
        two_backends(tmp_path) as backends,
        routed(tmp_path, backends.table({"backends": "a"})) as services,
    ):
        taken = services.taken_at()
        services.write(table)
        services.wait_taken(taken)

        response = httpx.get(f"{services.web.url}/models", timeout=30)

    assert response.status_code == 503
    assert response.json()["detail"]


def test_a_route_is_chosen_by_model_header_and_tenant(services: Routed) -> None:
    assert version(services.process()) == "a"
    assert version(services.process(model="tiny")) == "a"
    assert version(services.process(model="tiny", headers={"X-Route-Pool": "b"})) == "b"
    assert version(services.process(model="tiny", headers={"x-tenant": "acme"})) == "b"
    assert version(services.process(model="wide", headers={"X-Route-Pool": "b"})) == "a"


def test_the_labels_are_those_of_the_back_end(services: Routed) -> None:
    own = services.process(model="tiny").json()["detections"]
    other = services.process(model="tiny", headers={"X-Route-Pool": "b"}).json()["detections"]

    assert [one[0] for one in own] == ["square"]
    assert [[one[0], *one[1:]] for one in other] == [["box", *one[1:]] for one in own]


def test_web_passes_on_route_headers_but_no_tenant(services: Routed) -> None:
    """Only web itself says who the caller is."""
    headers = {"X-Route-Pool": "b", "Accept": "image/png"}

    assert version(services.detect(model="tiny", headers={"X-Route-Pool": "b"})) == "b"
    assert version(services.detect(model="tiny", headers={"X-Tenant": "acme"})) == "a"
    before = services.pictures("b")
    assert services.detect(model="tiny", headers=headers).headers["Content-Type"] == "image/png"
    assert services.pictures("b") == before + 1


def test_web_refuses_more_route_headers_than_it_passes_on(services: Routed) -> None:
    refused = services.detect(headers={f"X-Route-{number}": "1" for number in range(9)})

    assert refused.status_code == 400
    assert refused.json()["detail"] == "expected at most 8 headers x-route-*"


def test_weights_share_requests_by_their_ids(services: Routed) -> None:
    """Of 100 ids that count up, b gets a quarter: 25, and four standard deviations are 17."""

    def send(number: int) -> str:
        headers = {"X-Route-Pool": "shared", "X-Request-ID": f"{number:032x}"}
        return version(services.detect(model="tiny", headers=headers))

    found = [send(number) for number in range(100)]

    assert found.count("b") == pytest.approx(25, abs=17)
    # A retry of a picture goes the same way.
    assert [send(number) for number in range(10)] == found[:10]


def test_an_unknown_model_is_404_with_the_list(services: Routed) -> None:
    unknown = services.detect(model="narrow")

    assert unknown.status_code == 404
    assert unknown.json()["detail"] == "no model 'narrow' here; available: 'tiny', 'wide'"


def test_the_list_has_what_the_caller_can_reach(services: Routed) -> None:
    """The route of zenith's wide leads to b, which does not have it: a has."""
    missing = services.process(model="wide", headers={"X-Tenant": "zenith"})

    assert missing.status_code == 404
    assert missing.json()["detail"] == "no model 'wide' here; available: 'tiny'"


def test_an_ensemble_routes_each_of_its_models(backends: Backends, tmp_path: Path) -> None:
    table = backends.table({"model": "tiny", "backends": "b"}, {"model": "wide", "backends": "a"})
    with routed(tmp_path, table) as services:
        both = services.detect(model="ensemble:tiny+wide")
        no_default = services.detect()

        assert both.json()["model"]["version"] == "b+a"
        assert {one[0] for one in both.json()["data"]} == {"box", "square"}
        assert (services.pictures("a"), services.pictures("b")) == (1, 1)
        assert no_default.status_code == 404
        assert no_default.json()["detail"] == (
            "there is no default model here; available: 'tiny', 'wide'"
        )


def test_status_predicts_a_golden_picture_at_the_back_end_that_has_it(
    backends: Backends, tmp_path: Path
) -> None:
    """The tiny model of b goes to a, whose golden picture has other labels."""
    table = backends.table({"model": "tiny", "backends": "a"}, {"backends": "b"})
    with routed(tmp_path, table) as services:
        status = httpx.get(f"{services.web.url}/health/status", timeout=30).json()

    assert (status["status"], status["model"]["version"]) == ("ok", "a")
    assert status["found"][0][0] == "square"


def test_a_back_end_that_is_down_is_503_and_the_others_serve(
    backends: Backends, tmp_path: Path
) -> None:
    table = backends.table({"model": "tiny", "backends": "b"}, {"backends": "down"})
    table["backends"]["down"] = {"url": f"http://127.0.0.1:{free_port()}"}
    with routed(tmp_path, table) as services:
        served, down = services.detect(model="tiny"), services.detect()

    assert version(served) == "b"
    assert down.status_code == 503
    assert down.json()["detail"] == "the down service cannot be reached"


def test_a_model_that_is_not_loaded_now_is_503(tmp_path: Path) -> None:
    """Other than a model that no back end knows."""
    with two_backends(tmp_path) as backends:
        path = f"{backends.a.url}/v2/repository/models/wide"
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        table = backends.table({"model": "wide", "backends": "a"}, {"backends": "b"})
        with routed(tmp_path, table) as services:
            before = services.detect(model="wide")
            httpx.post(f"{path}/unload", headers=bearer).raise_for_status()
            unloaded = services.detect(model="wide")
            httpx.post(f"{path}/load", headers=bearer).raise_for_status()
            after = services.detect(model="wide")

    assert (before.status_code, unloaded.status_code, after.status_code) == (200, 503, 200)
    assert unloaded.json()["detail"] == "the back end of the model 'wide' does not have it now"


def test_preprocess_becomes_ready_with_one_of_its_back_ends(
    backends: Backends, tmp_path: Path
) -> None:
    """And does not without any. A table without one that responds does not end that."""
    table = backends.table({"backends": "a"})
    table["backends"]["down"] = {"url": f"http://127.0.0.1:{free_port()}"}
    down = {"backends": {"down": table["backends"]["down"]}, "routes": [{"backends": "down"}]}
    with routed(tmp_path, table) as services:
        services.write(down)
        url = f"{services.preprocess.url}/metrics"
        wait_until(lambda: 'peer="a"' not in httpx.get(url).text, "the table is taken")
        assert httpx.get(f"{services.preprocess.url}/readyz").status_code == 200
    routes = tmp_path / "down.yaml"
    routes.write_text(json.dumps(down))
    with Service("preprocess", free_port(), {"ROUTES": str(routes)}) as preprocess:
        url = f"{preprocess.url}/readyz"
        wait_until(lambda: _detail(url) == "the down service cannot be reached", "it says why")


def _detail(url: str) -> str:
    try:
        return str(httpx.get(url).json().get("detail"))
    except httpx.TransportError:
        return ""


def test_without_a_table_all_is_as_before(backends: Backends) -> None:
    """One back end, whose own messages reach the caller, and no metrics of routes."""
    with Service("preprocess", free_port(), {"INFERENCE_URL": backends.a.url}) as preprocess:
        preprocess.wait_ready()
        url = f"{preprocess.url}/process"
        headers = {"X-Route-Pool": "b", "X-Tenant": "acme"}
        found = httpx.post(url, content=JPEG, headers=headers)
        unknown = httpx.post(url, content=JPEG, params={"model": "narrow"})
        metrics = httpx.get(f"{preprocess.url}/metrics").text

    assert version(found) == "a"
    assert unknown.json()["detail"] == "no model 'narrow' here; available: 'tiny', 'wide'"
    assert 'peer="inference"' in metrics
    assert "elastic_yolo_rout" not in metrics


def test_inference_url_is_a_back_end_of_every_table(backends: Backends, tmp_path: Path) -> None:
    table = {"backends": {"b": {"url": backends.b.url}},
             "routes": [{"model": "tiny", "backends": "b"}, {"backends": "inference"}]}  # fmt: skip
    with routed(tmp_path, table, INFERENCE_URL=backends.a.url) as services:
        assert version(services.detect(model="tiny")) == "b"
        assert version(services.detect()) == "a"


def test_the_name_of_a_model_may_be_another_at_the_back_end(
    backends: Backends, tmp_path: Path
) -> None:
    """Under any other name the back end has none."""
    table = backends.table({"model": ["large", "tiny"], "backends": "a"}, {"backends": "a"})
    table["backends"]["a"]["model"] = "wide"
    with routed(tmp_path, table) as services:
        responses = [services.detect(model=name) for name in ("large", "tiny", "wide")]
        other = services.detect(model="other")

    assert [len(response.json()["data"]) for response in responses] == [2, 2, 2]
    assert other.json()["detail"] == ("no model 'other' here; available: 'large', 'tiny', 'wide'")


@pytest.mark.parametrize(
    ("env", "status", "line"),
    [
        ({}, 2, "INFERENCE_URL: Field required, unless ROUTES is set"),
        ({"ROUTES": "etcd://nowhere"}, 2, "ROUTES: expected etcd://host:port/key"),
        ({"ROUTES": "/nowhere.yaml"}, 1, "ROUTES: /nowhere.yaml: cannot be read: No such file"),
        ({"ROUTES": "etcd://127.0.0.1:1/k"}, 1, "ROUTES: etcd://127.0.0.1:1/k: cannot be read: "),
        (
            {"ROUTES": "x.yaml", "ETCD_USER": "me"},
            2,
            "ETCD_USER and ETCD_PASSWORD: expected both or none",
        ),
    ],
)
def test_a_table_that_cannot_be_read_ends_the_start(
    env: dict[str, str], status: int, line: str
) -> None:
    ended = start("preprocess", **env)

    assert ended.returncode == status
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stderr.startswith(line)


def test_a_wrong_table_ends_the_start_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    path.write_text("backends: {cpu: {ulr: 'http://cpu'}}\nroutes: [{backends: cpu}]\n")

    ended = start("preprocess", ROUTES=str(path))

    assert ended.returncode == 1
    assert ended.stderr == (f"ROUTES: {path}: backends.cpu.ulr: unknown field, did you mean url?\n")


def test_a_changed_table_is_taken_and_a_wrong_one_is_not(
    backends: Backends, tmp_path: Path
) -> None:
    with routed(tmp_path, backends.table({"backends": "a"})) as services:
        started = services.taken_at()
        before = version(services.detect())
        services.write(backends.table({"backends": "b"}))
        services.wait_taken(started)
        after = version(services.detect())
        services.write("routes: [{backends: c}]")
        wait_until(lambda: not services.is_valid(), "the table is refused")
        wait_until(lambda: "routes refused" in services.log(), "the reason is logged")
        refused = version(services.detect())
        services.write(backends.table({"backends": "a"}))
        wait_until(services.is_valid, "the table is taken")

        assert (before, after, refused, version(services.detect())) == ("a", "b", "b", "a")
        assert services.log().count("no back end 'c'") == 1


def test_a_config_map_that_kubernetes_replaces_is_taken(backends: Backends, tmp_path: Path) -> None:
    """The kubelet points the link ..data at a new folder; the file's own link stays."""

    def write(name: str, routed_to: str) -> None:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "routes.yaml").write_text(
            f"backends: {{x: {{url: '{backends.entries[routed_to]['url']}'}}}}\n"
            "routes: [{backends: x}]\n"
        )
        (tmp_path / "new").symlink_to(name)
        (tmp_path / "new").rename(tmp_path / "..data")

    write("..1", "a")
    (tmp_path / "routes.yaml").symlink_to("..data/routes.yaml")
    with routed(tmp_path, None) as services:
        started, before = services.taken_at(), version(services.detect())
        write("..2", "b")
        services.wait_taken(started)

        assert (before, version(services.detect())) == ("a", "b")


def test_a_table_is_tried_again_when_the_files_it_names_come_later(
    backends: Backends, tmp_path: Path
) -> None:
    with routed(tmp_path, backends.table({"backends": "a"})) as services:
        table = backends.table({"backends": "a"})
        table["backends"]["later"] = {
            "url": backends.a.url, "files": str(tmp_path / "later"), "heads": ["out"]
        }  # fmt: skip
        services.write(table)
        wait_until(lambda: not services.is_valid(), "the table is refused")
        write_tiny_model(tmp_path / "later")
        wait_until(services.is_valid, "the table is taken")


def test_a_request_ends_at_the_back_end_where_it_began(tmp_path: Path) -> None:
    """Its back end has left the table meanwhile, and closes afterwards."""
    with ExitStack() as stack:
        backends = stack.enter_context(two_backends(tmp_path))
        services = stack.enter_context(routed(tmp_path, backends.table({"backends": "b"})))
        assert version(services.detect()) == "b"
        frozen = backends.b.process
        frozen.send_signal(signal.SIGSTOP)
        stack.callback(frozen.send_signal, signal.SIGCONT)
        with ThreadPoolExecutor(1) as threads:
            begun = threads.submit(services.detect)
            wait_until(lambda: services.pictures("b") == 2, "the picture has its back end")
            taken_at = services.taken_at()
            services.write(
                {"backends": {"a": backends.entries["a"]}, "routes": [{"backends": "a"}]}
            )
            services.wait_taken(taken_at)
            other = version(services.detect())
            frozen.send_signal(signal.SIGCONT)

            assert (other, version(begun.result())) == ("a", "b")
        wait_until(lambda: '"b"' not in " ".join(peers(services)), "the back end is closed")


@pytest.mark.long
def test_a_reload_under_load_loses_no_request_and_no_connection_of_what_stays(
    backends: Backends, tmp_path: Path
) -> None:
    """Twelve tables in which one back end stays, and the other changes its name each time."""
    with ExitStack() as stack:
        services = stack.enter_context(routed(tmp_path, backends.table({"backends": "a"})))
        load = Load(f"{services.web.url}/inference", JPEG, lambda response: response.is_success)
        stack.enter_context(load.running())
        load.wait_for(20)
        for number in range(12):
            taken_at = services.taken_at()
            table = {"a": backends.entries["a"], f"b{number}": backends.entries["b"]}
            routes = [{"backends": {"a": 1, f"b{number}": 1}}]
            services.write({"backends": table, "routes": routes})
            services.wait_taken(taken_at)
            load.wait_for(20)
        names = {line.split('peer="')[1].split('"')[0] for line in peers(services)}
        kept = sum('"endpoints changed"' in line and '"a"' in line
                   for line in services.log().splitlines())  # fmt: skip

    assert set(load.statuses) == {200}
    assert names == {"a", "b11"}
    assert kept == 1
    assert services.log().count('"routes loaded"') == 13


def peers(services: Routed) -> list[str]:
    text = httpx.get(f"{services.preprocess.url}/metrics").text
    return [line for line in text.splitlines() if line.startswith("elastic_yolo_peer_")]
