"""pip's settings are found where pip finds them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from elastic_yolo.provision.errors import ConfigError
from elastic_yolo.provision.sources.pip_config import PipSettings, read_pip_settings


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment with folders for each kind of configuration file."""
    return {
        "HOME": str(tmp_path / "home"),
        "XDG_CONFIG_DIRS": str(tmp_path / "xdg"),
        "VIRTUAL_ENV": str(tmp_path / "venv"),
        "PATH": os.environ["PATH"],
    }


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_without_settings_the_index_is_pips_default(environment: dict[str, str]) -> None:
    if Path("/etc/pip.conf").exists():
        environment["PIP_INDEX_URL"] = "https://pypi.org/simple"
        environment["PIP_CERT"] = ""

    assert read_pip_settings(environment).indexes[0] == "https://pypi.org/simple"


def test_later_files_take_precedence(environment: dict[str, str], tmp_path: Path) -> None:
    places = [
        tmp_path / "xdg" / "pip" / "pip.conf",
        tmp_path / "home" / ".pip" / "pip.conf",
        tmp_path / "home" / ".config" / "pip" / "pip.conf",
        tmp_path / "venv" / "pip.conf",
    ]
    for number, path in enumerate(places):
        write(path, f"[global]\nindex-url = https://{number}.test/simple/\n")
        assert read_pip_settings(environment).indexes == (f"https://{number}.test/simple",)

    environment["PIP_INDEX_URL"] = "https://env.test/"
    assert read_pip_settings(environment).indexes == ("https://env.test",)


def test_pip_reads_the_same_value(environment: dict[str, str], tmp_path: Path) -> None:
    """Pip itself is the reference: for the user's file, and for one that the environment names."""
    write(tmp_path / "home" / ".config" / "pip" / "pip.conf", "[global]\nindex_url = https://u/\n")
    write(tmp_path / "own.conf", "[global]\nindex-url = https://o/\n")
    program = (
        "import json; from pip._internal.configuration import Configuration as C; "
        "c = C(isolated=False); c.load(); print(json.dumps(c.get_value('global.index-url')))"
    )
    for stated in ("", str(tmp_path / "own.conf")):
        values = {**environment, "PIP_CONFIG_FILE": stated}
        said = subprocess.run(
            [sys.executable, "-c", program], env=values, capture_output=True, text=True, check=True
        )
        assert read_pip_settings(values).indexes == (json.loads(said.stdout).rstrip("/"),)


def test_all_settings_are_read(environment: dict[str, str], tmp_path: Path) -> None:
    write(
        tmp_path / "venv" / "pip.conf",
        "[global]\nindex-url = https://a.test/s\nproxy = http://p.test:3128\n"
        "trusted-host = a.test\n  b.test:8080\ncert = /c.pem\n"
        "[install]\nextra-index-url =\n  https://b.test/s\n  https://c.test/s\n",
    )

    assert read_pip_settings(environment) == PipSettings(
        indexes=("https://a.test/s", "https://b.test/s", "https://c.test/s"),
        trusted_hosts=frozenset({"a.test", "b.test:8080"}),
        cert="/c.pem",
        proxy="http://p.test:3128",
    )


def test_no_configuration_file_is_read_if_pip_reads_none(
    environment: dict[str, str], tmp_path: Path
) -> None:
    write(tmp_path / "venv" / "pip.conf", "[global]\nindex-url = https://a.test/s\n")
    environment["PIP_CONFIG_FILE"] = os.devnull

    assert read_pip_settings(environment).indexes == ("https://pypi.org/simple",)


def test_an_environment_without_an_index_is_an_error(environment: dict[str, str]) -> None:
    environment["PIP_NO_INDEX"] = "1"
    with pytest.raises(ConfigError, match="pip is set to use none"):
        read_pip_settings(environment)


def test_a_broken_file_is_named_but_not_quoted(environment: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "venv" / "pip.conf"
    write(path, "https://user:secret@a.test\n")
    with pytest.raises(ConfigError, match=f"{path}: cannot be read") as raised:
        read_pip_settings(environment)

    assert "secret" not in str(raised.value)
