"""Several models in one service, ensembles of them, and loading and unloading by hand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from elastic_yolo.lab.processes.stack import Service, Stack, StackError, free_port
from tests.support.pictures import encode, plain
from tests.support.raw import status_without_body
from tests.support.tiny import write_tiny_model

PICTURE = {"image": encode(plain(64, 48), "JPEG")}
TOKEN = "let me in, please"  # noqa: S105
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@contextmanager
def running(folder: Path) -> Iterator[Stack]:
    """Serve a default model with an input of 32x32 pixels, and one called wide with 64x32.

    Its variable gives it a second name.
    """
    first = write_tiny_model(folder / "first")
    wide = write_tiny_model(folder / "wide", width=64, manifest="name: wide\nversion: '7'\n")
    env = {"inference": {"MODEL_TWO_CELLS_PATH": str(wide), "REPOSITORY_TOKEN": TOKEN}}
    with Stack(model=first, logs=folder, env=env) as stack:
        yield stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Shared by the tests that change nothing."""
    with running(tmp_path_factory.mktemp("models")) as stack:
        yield stack


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack of its own for a test that loads and unloads."""
    with running(tmp_path) as stack:
        yield stack


def detect(stack: Stack, **params: str) -> httpx.Response:
    return httpx.post(f"{stack.web.url}/inference", files=PICTURE, params=params)


def repository(stack: Stack, path: str, **options: object) -> httpx.Response:
    return httpx.post(
        f"{stack.inference.url}/v2/repository/{path}",
        **{"headers": BEARER, **options},  # type: ignore[arg-type]
    )


def test_a_request_selects_a_model_by_its_name(stack: Stack) -> None:
    responses = [detect(stack), detect(stack, model="wide"), detect(stack, model="tiny")]

    assert [response.json()["model"]["name"] for response in responses] == ["tiny", "wide", "tiny"]
    assert [len(response.json()["data"]) for response in responses] == [1, 2, 1]
    assert responses[1].json()["model"]["version"] == "7"
    unknown = detect(stack, model="narrow")
    assert unknown.status_code == 404
    assert unknown.json()["detail"] == "no model 'narrow' here; available: 'tiny', 'wide'"


@pytest.mark.parametrize("service", ["web", "preprocess"])
def test_the_models_are_listed_with_their_thresholds(stack: Stack, service: str) -> None:
    listed = httpx.get(f"{getattr(stack, service).url}/models").json()

    tiny = {"name": "tiny", "version": "1", "threshold": 0.5, "labels": 2}
    wide = {"name": "wide", "version": "7", "threshold": 0.5, "labels": 2}
    assert listed == {"default": tiny, "models": [tiny, wide]}


def test_a_model_that_is_not_loaded_is_not_listed(own_stack: Stack) -> None:
    assert repository(own_stack, "models/wide/unload").status_code == 200

    listed = httpx.get(f"{own_stack.web.url}/models").json()

    assert [model["name"] for model in listed["models"]] == ["tiny"]


def test_the_server_metadata_lists_all_models(stack: Stack) -> None:
    server = httpx.get(f"{stack.inference.url}/v2").json()
    assert server["models"] == ["tiny", "wide"]
    assert server["extensions"] == [
        "binary_tensor_data",
        "model_configuration",
        "statistics",
        "model_repository",
    ]
    shape = httpx.get(f"{stack.inference.url}/v2/models/wide").json()["inputs"][0]["shape"]
    assert shape == [-1, 32, 64, 3]


def test_two_models_of_one_name_end_the_start_with_one_line(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "model")
    env = {"MODEL_PATH": str(model), "MODEL_B_PATH": str(model)}
    log = tmp_path / "log"
    with Service("inference", free_port(), env, log) as service, pytest.raises(StackError):
        service.wait_ready()

    last = log.read_text().splitlines()[-1]
    assert last == "MODEL_B_PATH: the model name 'tiny' is already in use, by MODEL_PATH"


def test_a_variables_name_that_is_another_models_ends_the_start(tmp_path: Path) -> None:
    """`?model=Tiny-1` could mean either model."""
    first = write_tiny_model(tmp_path / "first", manifest="name: Tiny-1\n")
    second = write_tiny_model(tmp_path / "second")
    env = {"MODEL_PATH": str(first), "MODEL_TINY_1_PATH": str(second)}
    log = tmp_path / "log"
    with Service("inference", free_port(), env, log) as service, pytest.raises(StackError):
        service.wait_ready()

    assert log.read_text().splitlines()[-1] == (
        "MODEL_TINY_1_PATH and MODEL_PATH: both models would answer to 'Tiny-1': "
        "rename MODEL_TINY_1_PATH, or set another name in the model.yaml of MODEL_PATH"
    )


@pytest.mark.parametrize("name", ["two_cells", "two-cells", "TWO_CELLS"])
def test_a_model_answers_to_the_name_in_its_variable(stack: Stack, name: str) -> None:
    """Responses have the model's own name, and so has the metadata."""
    body = detect(stack, model=name).json()
    metadata = httpx.get(f"{stack.inference.url}/v2/models/{name}").json()

    assert (body["model"]["name"], len(body["data"])) == ("wide", 2)
    assert (metadata["name"], metadata["versions"]) == ("wide", ["7"])


def test_metrics_and_the_list_have_own_names_only(stack: Stack) -> None:
    detect(stack, model="two-cells").raise_for_status()
    metrics = httpx.get(f"{stack.inference.url}/metrics").text

    assert httpx.get(f"{stack.inference.url}/v2").json()["models"] == ["tiny", "wide"]
    assert 'elastic_yolo_model_pictures_total{model="wide",version="7"}' in metrics
    assert not re.search("two.cells", metrics, re.IGNORECASE)


def test_the_variable_of_the_default_model_gives_no_name(stack: Stack) -> None:
    assert detect(stack, model="path").status_code == 404


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer let me in"}])
@pytest.mark.parametrize("path", ["models/wide/load", "models/wide/unload"])
def test_the_repository_refuses_requests_without_the_token(
    stack: Stack, path: str, headers: dict[str, str]
) -> None:
    refused = repository(stack, path, headers=headers)

    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"] == "Bearer"
    assert detect(stack, model="wide").status_code == 200


def test_the_body_of_a_request_without_the_token_is_not_read(stack: Stack) -> None:
    path = "/v2/repository/models/wide/load"
    assert status_without_body(stack.inference, path, 10_000_000) == 401


def test_the_body_of_a_request_with_the_token_is_limited(stack: Stack) -> None:
    path = "/v2/repository/models/wide/load"
    token = f"Authorization: {BEARER['Authorization']}\r\n"
    assert status_without_body(stack.inference, path, 10_000_000, token) == 413
    assert repository(stack, "index", content=b"[1]").status_code == 400
    assert repository(stack, "index", json={"ready": "perhaps"}).status_code == 400


def test_a_model_is_unloaded_and_loaded_again(own_stack: Stack) -> None:
    assert repository(own_stack, "models/wide/unload").json() == {"name": "wide"}
    unloaded, other = detect(own_stack, model="wide"), detect(own_stack)
    index = repository(own_stack, "index").json()
    ready_only = repository(own_stack, "index", json={"ready": True}).json()
    loaded = repository(own_stack, "models/wide/load")
    loaded_again = detect(own_stack, model="wide")

    assert (unloaded.status_code, unloaded.json()["detail"]) == (
        404,
        "the model 'wide' is not loaded",
    )
    assert other.status_code == 200
    assert [(row["name"], row["state"], row["reason"]) for row in index] == [
        ("tiny", "READY", ""),
        ("wide", "UNAVAILABLE", "unloaded"),
    ]
    assert [row["name"] for row in ready_only] == ["tiny"]
    assert loaded.json()["version"] == "7"
    assert len(loaded_again.json()["data"]) == 2


def test_loading_a_model_again_reads_its_changed_folder(tmp_path: Path, own_stack: Stack) -> None:
    write_tiny_model(tmp_path / "wide", width=96, manifest="name: wide\nversion: '8'\n")
    before = detect(own_stack, model="wide").json()
    repository(own_stack, "models/wide/load").raise_for_status()
    after = detect(own_stack, model="wide").json()

    assert (before["model"]["version"], len(before["data"])) == ("7", 2)
    # Preprocess still sends 64x32 pixels, which the outgoing version accepts.
    assert after["model"]["version"] == "7"
    described = httpx.get(f"{own_stack.inference.url}/v2/models/wide").json()
    assert described["versions"] == ["8", "7"]


def test_a_refused_load_returns_the_reason(tmp_path: Path, own_stack: Stack) -> None:
    (tmp_path / "wide" / "tiny.weights").write_bytes(b"half a model")
    refused = repository(own_stack, "models/wide/load")
    still = detect(own_stack, model="wide")
    index = repository(own_stack, "index").json()

    assert refused.status_code == 422
    assert "tiny.weights" in refused.json()["error"]
    assert still.json()["model"]["version"] == "7"
    # The index needs no token, so it does not say which file is wrong.
    assert [(row["state"], row["reason"]) for row in index if row["name"] == "wide"] == [
        ("READY", ""),
        ("UNAVAILABLE", "folder: model"),
    ]


def test_parameters_of_a_load_are_refused(stack: Stack) -> None:
    refused = repository(stack, "models/wide/load", json={"parameters": {"config": "{}"}})

    assert refused.status_code == 422


def test_without_a_token_set_the_index_can_be_read_and_nothing_can_be_loaded(
    tiny_model: Path,
) -> None:
    with Service("inference", free_port(), {"MODEL_PATH": str(tiny_model)}) as service:
        service.wait_ready()
        url = f"{service.url}/v2/repository"
        index = httpx.post(f"{url}/index")
        changes = [httpx.post(f"{url}/models/tiny/{what}") for what in ("load", "unload")]

    assert index.json() == [{"name": "tiny", "version": "1", "state": "READY", "reason": ""}]
    assert [response.status_code for response in changes] == [404, 404]


def test_where_a_token_is_set_the_index_can_still_be_read_without_it(stack: Stack) -> None:
    index = repository(stack, "index", headers={})

    assert [row["name"] for row in index.json()] == ["tiny", "wide"]


def test_an_ensemble_returns_the_detections_of_all_its_models(stack: Stack) -> None:
    """The tiny model finds one square in the middle, the wide one two, elsewhere."""
    names = ("ensemble:tiny+wide", "ensemble:tiny wide", "ensemble:tiny+two-cells")
    responses = [detect(stack, model=name) for name in names]
    alone = [detect(stack, model=name).json() for name in ("tiny", "wide")]

    body = responses[0].json()
    assert responses[1].json()["data"] == responses[2].json()["data"] == body["data"]
    assert responses[2].json()["model"] == body["model"]
    assert (body["model"]["name"], body["model"]["version"]) == ("ensemble:tiny+wide", "1+7")
    assert body["image"] == {"width": 64, "height": 48}
    boxes = sorted(box for response in alone for _, _, box in response["data"])
    assert sorted(box for _, _, box in body["data"]) == boxes
    halves = sorted(score / 2 for response in alone for _, score, _ in response["data"])
    assert sorted(score for _, score, _ in body["data"]) == pytest.approx(halves, abs=1e-6)


@pytest.mark.long
def test_an_ensemble_takes_300_objects_of_each_model_at_most(tmp_path: Path) -> None:
    """The best ones: with a threshold of 0 there may be thousands, and all pairs are compared."""
    many = write_tiny_model(tmp_path / "many", width=32 * 20, height=32 * 20)
    wide = write_tiny_model(tmp_path / "wide", width=64, manifest="name: wide")
    env = {"inference": {"MODEL_WIDE_PATH": str(wide)}}
    with Stack(model=many, logs=tmp_path, env=env) as stack:
        alone = detect(stack, model="tiny").json()
        merged = detect(stack, model="ensemble:tiny+wide").json()

    assert len(alone["data"]) == 400
    assert 300 <= len(merged["data"]) <= 302


@pytest.mark.parametrize(
    ("model", "status", "said"),
    [
        ("ensemble:tiny", 422, "expected 2 to 4 different models"),
        ("ensemble:tiny+tiny", 422, "expected 2 to 4 different models"),
        ("ensemble:wide+two-cells", 422, "expected 2 to 4 different models"),
        ("ensemble:tiny+narrow", 404, "no model 'narrow' here"),
        ("ensemble:tiny+", 422, "expected 2 to 4 different models"),
    ],
)
def test_an_invalid_ensemble_is_refused(stack: Stack, model: str, status: int, said: str) -> None:
    refused = detect(stack, model=model)

    assert refused.status_code == status
    assert said in refused.json()["detail"]
