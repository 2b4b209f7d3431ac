"""A model's name works in every tier, or the start ends with one line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from elastic_yolo.lab.processes.stack import Service, Stack, StackError, free_port
from tests.support.pictures import encode, plain
from tests.support.publishing import publish
from tests.support.tiny import write_tiny_model

PICTURE = {"image": encode(plain(64, 48), "JPEG")}
LONGEST = "L" + "o" * 98 + "g"
NAMES = ("yolo.v3-tiny_3l", "7", LONGEST, f"{LONGEST[:-1]}-")
UNUSABLE = [
    "my model (1)",
    "siec 100%",
    "a+b",
    "ensemble:a+b",
    "a@stable=5,b",
    ".hidden",
    "_tiny",
    "it's",
    'a"b',
    "a?b#c",
    "a\\b",
    "%61",
    "\u4eba\u8138",
    "x" * 101,
]


def write(folder: Path, stem: str, manifest: str = "") -> Path:
    """Write the tiny model with a .cfg of this name."""
    write_tiny_model(folder, manifest=manifest)
    (folder / "tiny.cfg").rename(folder / f"{stem}.cfg")
    return folder


def refusal(tmp_path: Path, **env: str) -> str:
    """Return the last line of a service that does not start with these settings."""
    log = tmp_path / "log"
    with Service("inference", free_port(), env, log) as service, pytest.raises(StackError):
        service.wait_ready()
    assert "Traceback" not in log.read_text()
    return log.read_text().splitlines()[-1]


@pytest.mark.parametrize(
    ("stem", "suggested"),
    [("a+b", "a-b"), ("siec 100%", "siec-100"), ("_hidden", "hidden"), ("\u4eba\u8138", "model")],
)
def test_a_name_that_cannot_travel_ends_the_start_with_a_better_one(
    tmp_path: Path, stem: str, suggested: str
) -> None:
    folder = write(tmp_path / "m", stem)

    line = refusal(tmp_path, MODEL_PATH=str(folder))

    assert line.startswith(f"MODEL_PATH: {folder}/{stem}.cfg: the model's name would be")
    assert "expected at most 100 letters, digits, dots, dashes and underscores" in line
    assert f"write name: {suggested} to a model.yaml" in line


def test_a_further_model_has_the_same_rule(tmp_path: Path) -> None:
    first, second = write(tmp_path / "1", "first"), write(tmp_path / "2", "a b")

    line = refusal(tmp_path, MODEL_PATH=str(first), MODEL_B_PATH=str(second))

    assert line.startswith("MODEL_B_PATH: ")
    assert "write name: a-b" in line


@pytest.mark.parametrize("variable", ["MODEL__B_PATH", f"MODEL_{'B' * 101}_PATH"])
def test_a_variable_whose_name_no_request_could_have_is_refused(
    tmp_path: Path, variable: str
) -> None:
    folder = str(write(tmp_path / "m", "first"))

    line = refusal(tmp_path, MODEL_PATH=folder, **{variable: folder})

    assert f"{variable}: expected at most 100 capital letters, digits and _" in line


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Four models, of which the first has an unusable .cfg name and a model.yaml.

    The last one is in a store.
    """
    folder = tmp_path_factory.mktemp("models")
    paths = [str(write(folder / "my model (1)", "siec 100%", f"name: {NAMES[0]}\n"))]
    paths += [str(write(folder / name, name)) for name in NAMES[1:3]]
    stored = write(folder / "source", "a+b")
    files = {path.name: path.read_bytes() for path in stored.iterdir()}
    publish(folder / "store", files, name=NAMES[3], version="1.0_a")
    paths.append(f"store:{folder / 'store'}/{NAMES[3]}@stable")
    env = {f"MODEL_M{number}_PATH": path for number, path in enumerate(paths)}
    with Stack(model=paths[0], logs=folder, env={"inference": {
        name: path for name, path in env.items() if name != "MODEL_M0_PATH"
    }}) as stack:  # fmt: skip
        yield stack


@pytest.mark.parametrize("name", NAMES)
def test_a_valid_name_works_in_every_tier(stack: Stack, name: str) -> None:
    answer = httpx.post(f"{stack.web.url}/inference", files=PICTURE, params={"model": name})
    metadata = httpx.get(f"{stack.inference.url}/v2/models/{name}")
    ready = httpx.get(f"{stack.inference.url}/v2/models/{name}/ready")

    assert (answer.status_code, answer.json()["model"]["name"]) == (200, name)
    assert len(answer.json()["data"]) == 1
    assert metadata.json()["name"] == name
    assert ready.status_code == 200
    metrics = httpx.get(f"{stack.inference.url}/metrics").text
    assert f'elastic_yolo_model_pictures_total{{model="{name}"' in metrics


def test_an_ensemble_may_have_the_longest_names(stack: Stack) -> None:
    together = "ensemble:" + "+".join(NAMES)

    answer = httpx.post(f"{stack.web.url}/inference", files=PICTURE, params={"model": together})

    assert (answer.status_code, answer.json()["model"]["name"]) == (200, together)


def test_the_status_of_every_tier_is_good(stack: Stack) -> None:
    for service in (stack.web, stack.preprocess, stack.inference):
        status = httpx.get(f"{service.url}/health/status", timeout=30)
        assert status.status_code == 200, status.text
        assert status.json()["model"]["name"] == NAMES[0]


@pytest.mark.parametrize("name", [*UNUSABLE, "a/b", "../v2", "a\nb", ""])
def test_a_name_that_no_model_can_have_is_unknown(stack: Stack, name: str) -> None:
    answer = httpx.post(f"{stack.web.url}/inference", files=PICTURE, params={"model": name})

    assert answer.status_code in (404, 422)
    assert answer.headers["content-type"] == "application/problem+json"
