"""Commands that take a model take a channel of a store, as the services do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from elastic_yolo.store.layout import Layout
from tests.support.command import run
from tests.support.publishing import publish
from tests.support.tiny import write_tiny_model


@pytest.fixture
def reference(tmp_path: Path) -> str:
    """The channel of a model whose .cfg has a name that no service could use."""
    folder = write_tiny_model(tmp_path / "source")
    (folder / "tiny.cfg").rename(folder / "my model (1).cfg")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    publish(tmp_path / "store", files, name="square-finder", version="7")
    return f"store:{tmp_path / 'store'}/square-finder"


def test_detect_takes_the_version_that_a_channel_points_at(reference: str, picture: Path) -> None:
    for model in (reference, f"{reference}@stable"):
        status, out, err = run("detect", picture, "--model", model, "--json")

        assert (status, err) == (0, "")
        (found,) = json.loads(out)["data"]
        assert found[0] == "square"


def test_verify_names_the_model_as_the_services_do(reference: str) -> None:
    status, out, _ = run("verify", reference, "--json")

    assert status == 0
    assert "square-finder version 7: 2 layers" in json.loads(out)[0]["detail"]


def test_convert_compare_and_bench_take_a_channel(
    reference: str, picture: Path, tmp_path: Path
) -> None:
    output = tmp_path / "x.onnx"

    assert run("convert", reference, "--output", output)[0] == 0
    assert output.stat().st_size > 0
    status, out, err = run("compare", reference, picture, "--with", "opencv", "--json")
    assert (status, json.loads(out)["failed"]) == (0, 0), err
    options = ("--engines", "onnxruntime", "--precisions", "fp32", "--rounds", "1")
    status, out, _ = run("bench", reference, *options, "--seconds", "0.1", "--json")
    assert (status, json.loads(out)[0]["engine"]) == (0, "onnxruntime")


@pytest.mark.parametrize(
    ("change", "status", "why"),
    [
        ("@next", 1, "square-finder@next: no such model or channel in this store"),
        ("s", 1, "square-finders@stable: no such model or channel in this store"),
        (
            "@stable=95,square-finder@next=5",
            2,
            "'stable=95,square-finder@next=5': expected at most",
        ),
        (" 2", 2, "'square-finder 2': expected at most 100 letters"),
    ],
)
def test_a_channel_that_is_not_there_is_named(
    reference: str, picture: Path, change: str, status: int, why: str
) -> None:
    found = run("detect", picture, "--model", reference + change)

    assert (found[0], found[1]) == (status, "")
    assert why in found[2]
    assert "Traceback" not in found[2]


def test_verify_refuses_a_name_that_services_refuse(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "siec 100%")
    assert run("verify", folder)[0] == 0
    (folder / "tiny.cfg").rename(folder / "siec 100%.cfg")

    status, out, _ = run("verify", folder, "--json")

    failed = [check for check in json.loads(out) if check["passed"] is False]
    assert status == 1
    assert [check["name"] for check in failed] == ["name"]
    assert "write name: siec-100 to a model.yaml" in failed[0]["detail"]
    (folder / "model.yaml").write_text("name: siec-100\n")
    assert run("verify", folder)[0] == 0


def test_verify_prints_what_darknet_ignores(tiny_model: Path) -> None:
    cfg = tiny_model / "tiny.cfg"
    cfg.write_text(f"{cfg.read_text()}note=mine\n")

    status, out, _ = run("verify", tiny_model)
    as_json = json.loads(run("verify", tiny_model, "--json")[1])

    note = "tiny.cfg:18: [yolo] note=mine has no effect: Darknet has no such option here"
    assert status == 0
    assert out.splitlines()[1].strip() == note
    assert as_json[0]["notes"] == [note]


def test_provision_refuses_a_name_that_services_refuse(tmp_path: Path) -> None:
    config = tmp_path / "models.yaml"
    config.write_text(
        f"models:\n- name: siec 100%\n  source: {tmp_path}\n"
        "  files: {a.cfg: {}, a.weights: {}, a.names: {}}\n"
    )

    status, _, err = run("provision", "--config", config, "--store", tmp_path / "store", "pull")

    assert status != 0
    assert "models.0.name: expected at most 100 letters, digits, dots, dashes" in err
    assert err.rstrip().endswith("such as siec-100")
    assert not Layout(tmp_path / "store").models.exists()
