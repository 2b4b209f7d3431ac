"""Missing packages: the library and the command name the extra that installs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from elastic_yolo.extras import MissingPackage, naming_extra
from elastic_yolo.lab.processes.stack import DEMO_MODEL, ROOT


def bare_python(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run Python with the package elastic_yolo and what is in `folder`, and no other package."""
    link = folder / "elastic_yolo"
    if not link.exists():
        link.symlink_to(ROOT / "elastic_yolo")
    return subprocess.run(
        # -S: without site-packages; -B: writes nothing into the checkout.
        [sys.executable, "-S", "-B", *map(str, arguments)],
        cwd=folder,
        env={"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", ["Detector", "EngineOptions", "load_detector"])
def test_the_library_without_its_packages_names_the_extra(tmp_path: Path, name: str) -> None:
    ended = bare_python(tmp_path, "-c", f"from elastic_yolo.detector import {name}")

    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == (
        "elastic_yolo.extras.MissingPackage: elastic_yolo.detector needs numpy, which is not "
        "installed here: install 'elastic-yolo[detect]'"
    )
    assert "ModuleNotFoundError" not in ended.stderr


def test_the_client_without_its_package_names_the_extra(tmp_path: Path) -> None:
    ended = bare_python(tmp_path, "-c", "from elastic_yolo.client import Client")

    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == (
        "elastic_yolo.extras.MissingPackage: elastic_yolo.client needs httpx, which is not "
        "installed here: install 'elastic-yolo[client]'"
    )


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        ("detect", "detect"),
        ("verify", "detect"),
        ("convert", "detect"),
        ("bench", "detect"),
        ("doctor", "detect"),
        ("provision", "provision"),
    ],
)
def test_a_command_without_its_packages_names_the_extra(
    tmp_path: Path, command: str, extra: str
) -> None:
    ended = bare_python(tmp_path, "-m", "elastic_yolo.cli", command, "--help")

    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"elastic-yolo: {command} needs ")
    assert line.endswith(f", which is not installed here: install 'elastic-yolo[{extra}]'")


def test_the_help_needs_no_package(tmp_path: Path) -> None:
    ended = bare_python(tmp_path, "-m", "elastic_yolo.cli", "--help")

    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("openvino onnx onnxruntime", "no engine is installed: install"),
        ("onnx", "elastic_yolo.detector needs onnx, which is not installed here: install"),
    ],
)
def test_a_missing_engine_names_the_extra(missing: str, message: str) -> None:
    """The import system treats a module whose entry is None as not installed."""
    program = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({missing.split()}))\n"
        "from elastic_yolo.cli.__main__ import main\n"
        f"sys.exit(main(['detect', '--model', {str(DEMO_MODEL)!r}, 'absent.png']))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"elastic-yolo: {message} 'elastic-yolo[detect]'\n"


def test_a_missing_module_of_this_package_names_no_extra() -> None:
    """An image has only the folders that its role needs."""
    with pytest.raises(MissingPackage) as raised, naming_extra("hpa-lab", "detect"):
        raise ModuleNotFoundError(name="elastic_yolo.lab")

    assert str(raised.value) == "hpa-lab needs elastic_yolo.lab, which is not installed here"
