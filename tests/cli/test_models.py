"""`elastic-yolo models`, and names of the zoo in place of model folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from elastic_yolo.cli.__main__ import main
from elastic_yolo.provision.zoo import find_zoo_model, zoo_names
from elastic_yolo.provision.zoo.folder import folder_content
from tests.support.real_models import real_model

TINY = "yolov3-tiny"
OFFLINE = "yolov4-tiny"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a proxy that refuses every connection: no test leaves the machine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("PIP_PROXY", "http://127.0.0.1:1")
    return tmp_path / "cache" / "elastic-yolo" / "models"


@pytest.fixture
def pulled(cache: Path) -> Path:
    """yolov3-tiny in the cache, as `models pull` leaves it."""
    weights = real_model(TINY) / f"{TINY}.weights"
    model, folder = find_zoo_model(TINY), cache / TINY
    folder.mkdir(parents=True)
    shutil.copy(weights, folder)
    for name, content in folder_content(model, model.weights.digest).items():
        (folder / name).write_bytes(content)
    return folder


def test_the_list_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines[1:]] == zoo_names()
    row = next(line for line in lines if line.startswith(f"{TINY} "))
    assert row.split() == [TINY, "80", "416x416", "35.4", "5.6", "33.1", "no"]


def test_the_list_as_json_has_the_whole_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list", "--json"]) == 0

    found = {model["name"]: model for model in json.loads(capsys.readouterr().out)}
    assert found.keys() == set(zoo_names())
    assert found[TINY]["weights"]["sha256"] == find_zoo_model(TINY).weights.sha256
    assert found[TINY]["folder"] is None


def test_the_path_of_a_model_that_is_not_pulled_is_an_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["models", "path", TINY]) == 1

    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        f"elastic-yolo: {TINY} is not in the cache: elastic-yolo models pull {TINY}\n"
    )


def test_the_path_of_a_pulled_model_is_its_folder(
    pulled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "path", TINY]) == 0
    assert main(["models", "pull", TINY]) == 0
    assert capsys.readouterr().out == f"{pulled}\n" * 2

    assert main(["models", "list"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if f"{TINY} " in line)
    assert row.endswith("  yes")


def test_an_unknown_name_is_one_line_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "pull", "yolov3tiny"]) == 1

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "elastic-yolo: yolov3tiny: no such model in the zoo; the nearest are yolov3-tiny"
    )
    assert line.endswith("`elastic-yolo models list` prints all")


@pytest.mark.parametrize(
    ("name", "first", "error"),
    [
        ("yolov2", "yolov2.weights, 203.9 MB", "yolov2.weights: none of its "),
        ("yolov4-tiny", "yolov4-tiny.cfg, 3.2 kB", "https://"),
    ],
)
def test_without_network_a_pull_ends_with_one_clear_line(
    name: str, first: str, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The .cfg of yolov2 is in the package, that of yolov4-tiny has a single source."""
    assert main(["models", "pull", name]) == 1

    download, failure = capsys.readouterr().err.splitlines()
    assert download.startswith(f"{name}: {first} from ")
    assert failure.startswith(f"elastic-yolo: {name}: {error}")
    assert failure.endswith("is there a network?")


def test_a_folder_takes_precedence_over_a_name_of_the_zoo(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: Path
) -> None:
    shutil.copytree(tiny_model, tmp_path / "here" / OFFLINE)
    monkeypatch.chdir(tmp_path / "here")

    assert main(["detect", "--model", OFFLINE, str(picture)]) == 0


@pytest.mark.parametrize("command", ["verify", "convert", "bench"])
def test_neither_a_folder_nor_a_name_is_wrong_usage(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([command, "yolov3-tony"])

    error = capsys.readouterr().err.splitlines()[-1]
    assert "yolov3-tony: no such folder, and no such model in the zoo" in error
    assert "the nearest are yolov3-tiny" in error


def test_a_wrong_option_is_reported_before_anything_is_pulled(cache: Path, picture: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["detect", "--model", TINY, "--threshold", "7", str(picture)])

    assert not cache.exists()


def test_a_pulled_model_detects_and_its_golden_picture_agrees(
    pulled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = pulled / "person-416.jpg"

    assert main(["detect", "--model", TINY, "--json", str(photo)]) == 0
    found = json.loads(capsys.readouterr().out)["data"]
    assert [label for label, _, _ in found] == ["horse", "person", "dog", "dog"]
    assert main(["verify", TINY, "--json", "--precision", "fp32"]) == 0
    checks = {check["name"]: check["passed"] for check in json.loads(capsys.readouterr().out)}
    assert checks["golden"] is True


@pytest.mark.long
def test_the_pull_of_a_model_works_wherever_pip_does(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From one of the real sources; this test needs a network."""
    monkeypatch.delenv("HTTPS_PROXY")
    monkeypatch.delenv("PIP_PROXY")
    status = main(["models", "pull", TINY])
    printed = capsys.readouterr()
    if status and printed.err.endswith("is there a network?\n"):
        pytest.skip("no source of yolov3-tiny is reachable: this test pulls NOTHING")

    assert (status, printed.out) == (0, f"{cache / TINY}\n")
