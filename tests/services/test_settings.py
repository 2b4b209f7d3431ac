"""The environment is validated before anything else, and the documentation matches it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from elastic_yolo.lab.processes.stack import ROOT, Service, free_port
from services.common.core.settings import ServiceSettings, variables
from services.inference.settings import InferenceSettings
from services.preprocess.settings import PreprocessSettings
from services.web.settings import WebSettings
from tests.support.service_start import start
from tests.support.tiny import write_tiny_model, write_weights
from tests.support.waiting import wait_until

KINDS = {"web": WebSettings, "preprocess": PreprocessSettings, "inference": InferenceSettings}


@pytest.mark.parametrize(
    ("service", "env", "line"),
    [
        ("web", {}, "PREPROCESS_URL: Field required"),
        ("web", {"PREPROCESS_URL": "preprocess:8000"}, "PREPROCESS_URL: "),
        ("web", {"PREPROCESS_URL": "http://a:1,,http://b:1"}, "PREPROCESS_URL: "),
        ("web", {"PREPROCESS_URL": "http://a/v1"}, "PREPROCESS_URL: expected http://"),
        ("web", {"PREPROCESS_URL": "http://me:x@a"}, "PREPROCESS_URL: expected http"),
        ("web", {"PREPROCESS_URL": "http://a:0"}, "PREPROCESS_URL: port 0"),
        (
            "web",
            {"PREPROCESS_URL": "http://a", "LIVE_AUTOSCALERS": "etcd"},
            "LIVE_AUTOSCALERS: expected kubernetes, or file:/path, found 'etcd'",
        ),
        ("web", {"PREPROCESS_URL": "http://a", "LIVE_WEB_URL": "web-pods"}, "LIVE_WEB_URL: "),
        ("preprocess", {"INFERENCE_URL": "http://x", "PORT": "many"}, "PORT: Input should be"),
        ("preprocess", {"INFERENCE_URL": "http://x", "MAX_PIXELS": "-1"}, "MAX_PIXELS: "),
        ("inference", {}, "MODEL_PATH: Field required"),
        ("inference", {"MODEL_PATH": "/", "ENGINE": "steam"}, "ENGINE: Input should be"),
        ("inference", {"MODEL_PATH": "/", "LOG_LEVEL": "loud"}, "LOG_LEVEL: Input should be"),
        (
            "inference",
            {"MODEL_PATH": "/", "MODEL_B_PATH": "store:nowhere"},
            "MODEL_B_PATH: 'store:nowhere': expected store:/folder/name@channel",
        ),
        ("inference", {"MODEL_PATH": "/", "REPOSITORY_TOKEN": "short"}, "REPOSITORY_TOKEN: "),
        (
            "inference",
            {"MODEL_PATH": "/", "MODEL_coco_PATH": "/a", "MODEL_COCO_PATH": "/b"},
            "MODEL_coco_PATH and MODEL_COCO_PATH: two variables for one model: remove one\n",
        ),
        (
            "inference",
            {"MODEL_PATH": "/", "MODEL_coco_PATH": "/a"},
            "MODEL_coco_PATH: expected at most 100 capital letters, digits and _ in NAME",
        ),
        (
            "inference",
            {"MODEL_PATH": "/", "MODEL__PATH": "/a"},
            "MODEL__PATH: expected at most 100 capital ",
        ),
        ("inference", {"MODEL_PATH": "/", "MODEL_A-B_PATH": "/a"}, "MODEL_A-B_PATH: expected "),
    ],
)
def test_an_invalid_value_ends_the_process_with_one_line(
    service: str, env: dict[str, str], line: str
) -> None:
    ended = start(service, **env)

    assert ended.returncode == 2
    assert ended.stderr.startswith(line)
    assert ended.stderr.count("\n") == 1


def test_an_invalid_secret_is_not_printed() -> None:
    ended = start("inference", MODEL_PATH="/", REPOSITORY_TOKEN="hush")  # noqa: S106

    assert ended.stderr.startswith("REPOSITORY_TOKEN: ")
    assert "expected at least 16 characters" in ended.stderr
    assert "hush" not in ended.stderr


def test_an_empty_variable_of_any_name_is_ignored(tiny_model: Path) -> None:
    write_weights(tiny_model / "tiny.weights", [0.0] * 20)

    ended = start("inference", MODEL_PATH=str(tiny_model), MODEL__PATH="", MODEL_coco_PATH="")

    assert ended.stderr.startswith("MODEL_PATH: tiny.weights: too short")


def test_an_invalid_model_ends_the_process_with_one_line(tiny_model: Path) -> None:
    write_weights(tiny_model / "tiny.weights", [0.0] * 20)

    ended = start("inference", MODEL_PATH=str(tiny_model))

    assert ended.returncode == 1
    assert ended.stderr.startswith("MODEL_PATH: tiny.weights: too short for tiny.cfg: layer 0")
    assert ended.stderr.count("\n") == 1


def test_an_invalid_golden_picture_ends_the_process(tmp_path: Path) -> None:
    manifest = "golden: {picture: g.png, expected: [[square, 0.9, [16, 16, 16, 8]]]}\n"
    model = write_tiny_model(tmp_path / "model", manifest=manifest)
    (model / "g.png").write_text("<html></html>")

    ended = start("inference", MODEL_PATH=str(model))

    assert ended.returncode == 1
    assert ended.stderr.startswith(f"MODEL_PATH: {model / 'g.png'}: not an accepted picture format")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("service", "variable", "instead"),
    [
        ("web", "LOG_FORMAT", "text on a terminal and JSON everywhere else"),
        ("preprocess", "EXACT", "elastic-yolo detect --exact"),
    ],
)
def test_a_removed_variable_causes_one_warning_at_the_start(
    tmp_path: Path, service: str, variable: str, instead: str
) -> None:
    """It has no effect any more, and must not be ignored silently."""
    peers = {"PREPROCESS_URL": "http://127.0.0.1:1", "INFERENCE_URL": "http://127.0.0.1:1"}
    log = tmp_path / "log"
    with Service(service, free_port(), {**peers, variable: "true"}, log) as running:
        wait_until(lambda: "listening" in log.read_text(), "the service listens")
        assert running.stop() == 0

    lines = [json.loads(line) for line in log.read_text().splitlines()]
    (warning,) = [line for line in lines if line["level"] == "warning"]
    assert warning["event"] == "variable has no effect"
    assert warning["variable"] == variable
    assert instead in warning["instead"]


def test_removed_variables_are_not_settings() -> None:
    for kind in KINDS.values():
        assert not kind.REMOVED.keys() & variables(kind).keys()


def documented(service: str) -> dict[str, str]:
    """Return variable and default from the table in the service's README."""
    text = (ROOT / "services" / service / "README.md").read_text()
    return dict(re.findall(r"^\| `([A-Z_<>]+)` \| ([^|]*?) \|", text, re.MULTILINE))


@pytest.mark.parametrize("service", KINDS)
def test_the_readme_lists_every_variable_with_its_default(service: str) -> None:
    """An unset value and an empty collection are "none"."""
    expected = {}
    for variable, field in variables(KINDS[service]).items():
        empty = field.default is None or field.default == {}
        default = "none" if empty else f"`{field.default}`"
        expected[variable] = "required" if field.is_required() else default

    assert documented(service) == expected


@pytest.mark.parametrize("service", KINDS)
def test_the_readme_describes_every_variable_as_the_code_does(service: str) -> None:
    text = (ROOT / "services" / service / "README.md").read_text()
    for field in KINDS[service].model_fields.values():
        assert field.description
        assert field.description in text


def test_settings_cannot_be_changed() -> None:
    settings = WebSettings(preprocess_url="http://127.0.0.1:1")

    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1
    assert issubclass(WebSettings, ServiceSettings)
