"""`elastic-yolo api-key` makes a key, and the lines for the file of the web service."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from elastic_yolo.api_key import key_digest
from elastic_yolo.cli.__main__ import main
from services.web.identity.api_keys import ApiKeys


def test_the_lines_make_a_file_with_which_the_key_is_known(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["api-key", "ci", "--models", "tiny,yolov3"]) == 0
    assert main(["api-key", "phone"]) == 0
    printed = capsys.readouterr()
    path = tmp_path / "keys.yaml"
    path.write_text(f"clients:\n{printed.out}")
    ci, phone = (line.rpartition(" ")[2] for line in printed.err.splitlines())
    keys = ApiKeys(path, None)

    found = keys.find(ci)
    assert found is not None
    assert (found.client, found.tenant, found.models) == ("ci", "ci", ("tiny", "yolov3"))
    found = keys.find(phone)
    assert found is not None
    assert (found.client, found.models) == ("phone", None)
    assert keys.find(phone + "x") is None
    assert ci not in printed.out


def test_keys_are_long_and_never_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    made = []
    for _ in range(20):
        assert main(["api-key", "ci", "--json"]) == 0
        made.append(json.loads(capsys.readouterr().out))

    assert len({one["key"] for one in made}) == 20
    # 256 random bits in base64.
    assert all(len(one["key"]) == len("ey_") + 43 for one in made)
    for one in made:
        [key] = one["client"]["keys"]
        assert key == {"sha256": key_digest(one["key"])}


@pytest.mark.parametrize("name", ["a b", "", "-", "x" * 64, "ä"])
def test_a_name_that_the_file_would_not_take_is_refused(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main(["api-key", "--", name]) == 1
    assert f"NAME {name!r}: expected 1 to 63 letters" in capsys.readouterr().err


@pytest.mark.parametrize("models", ["", "a,", "a b", "a]\n  - name: x"])
def test_a_model_name_that_no_model_can_have_is_refused(
    capsys: pytest.CaptureFixture[str], models: str
) -> None:
    assert main(["api-key", "ci", "--models", models]) == 1
    printed = capsys.readouterr()
    assert "--models " in printed.err
    assert printed.out == ""


def test_the_name_of_the_access_token_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["api-key", "access-token"]) == 1
    assert "is the client of ACCESS_TOKEN" in capsys.readouterr().err
