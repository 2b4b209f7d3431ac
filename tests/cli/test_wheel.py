"""The wheel: its contents, and its command without this checkout."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from elastic_yolo.lab.processes.stack import ROOT, Stack
from elastic_yolo.provision.zoo import zoo_names
from elastic_yolo.provision.zoo.table import ENTRIES
from tests.support.tiny import SCORE

MANIFEST = """\
apiVersion: v1
kind: Pod
metadata: {name: one, namespace: shop}
spec: {containers: [{name: one, image: one}]}
"""
S3 = """\
models:
  - {name: m, source: "s3://b", files: {k.cfg: {}, k.names: {}, k.weights: {}}}
"""
_WHERE = (
    "import elastic_yolo, importlib.util as util; "
    "print(elastic_yolo.__file__, util.find_spec('services'), util.find_spec('bench'))"
)


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel, and a folder to run its command from."""

    environment: Path
    folder: Path

    def run(self, *arguments: str | Path, module: bool = False) -> subprocess.CompletedProcess[str]:
        """Run `elastic-yolo`, or `python -m elastic_yolo.cli`, which can import from the folder."""
        python = [self.environment / "bin" / "python", "-m", "elastic_yolo.cli"]
        command = python if module else [self.environment / "bin" / "elastic-yolo"]
        return subprocess.run(
            [*command, *arguments],
            cwd=self.folder,
            # No PYTHONPATH or other variable that could lead to this checkout.
            env={"PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built offline from a copy: a stale `build` folder would add removed modules."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("elastic_yolo", "k8s/base", "k8s/components/stream"):
        shutil.copytree(
            ROOT / name,
            source / name,
            symlinks=True,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    _pip("wheel", "--no-build-isolation", "--no-deps", "--no-index", "-w", source, source)
    (built,) = source.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel in an environment that shares only the dependencies of this one."""
    parent = tmp_path_factory.mktemp("installed")
    environment = parent / "venv"
    venv.create(environment)
    # A .pth file adds the path only: the editable installation there has no effect.
    (_site_packages(environment) / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    _pip("--python", environment / "bin" / "python", "install", "--no-deps", "--no-index", wheel)
    return Installed(environment, _unrelated_folder(parent))


def test_the_wheel_holds_one_package_with_its_manifests_and_fonts(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())

    assert {name.split("/")[0] for name in names} == {
        "elastic_yolo",
        f"{wheel.name.rsplit('-', 3)[0]}.dist-info",
    }
    expected = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "elastic_yolo").rglob("*.py")
        if "__pycache__" not in path.parts
    }
    manifests = {path.name for path in (ROOT / "k8s" / "base").glob("*.yaml")}
    assert "web.yaml" in manifests
    expected |= {"elastic_yolo/py.typed"}
    expected |= {f"elastic_yolo/lab/manifests/{name}" for name in manifests}
    consumers = (ROOT / "k8s" / "components" / "stream").glob("*.yaml")
    expected |= {f"elastic_yolo/lab/stream-manifests/{path.name}" for path in consumers}
    fonts = ROOT / "elastic_yolo" / "picture" / "fonts"
    expected |= {
        path.relative_to(ROOT).as_posix() for path in (*ENTRIES.iterdir(), *fonts.iterdir())
    }
    assert {name for name in names if name.startswith("elastic_yolo/")} == expected


def test_the_installed_package_is_the_wheels(installed: Installed) -> None:
    """`-I` ignores the current folder and all variables."""
    found = subprocess.run(
        [
            installed.environment / "bin" / "python",
            "-I",
            "-c",
            _WHERE,
        ],
        cwd=installed.folder,
        capture_output=True,
        text=True,
        check=True,
    )

    own = _site_packages(installed.environment) / "elastic_yolo" / "__init__.py"
    assert found.stdout.split() == [str(own), "None", "None"]


@pytest.mark.parametrize("module", [False, True], ids=["script", "python -m"])
def test_the_installed_command_works_in_any_folder(
    installed: Installed, tiny_model: Path, picture: Path, module: bool
) -> None:
    """The folder has packages with the names of this repository's folders."""
    _try_commands(installed, tiny_model, picture, module=module)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_wheel_and_its_extra_are_enough(
    wheel: Path, tiny_model: Path, picture: Path, tmp_path: Path
) -> None:
    """In an empty environment, with the packages of the extra's lock."""
    environment = tmp_path / "venv"
    venv.create(environment)
    python = environment / "bin" / "python"
    lock = ROOT / "locks" / "detect.txt"
    _pip("--python", python, "install", "--require-hashes", "--only-binary", ":all:", "-r", lock)
    # --no-index: pip fails if the lock does not satisfy the extra.
    _pip("--python", python, "install", "--no-index", f"{wheel}[detect]")
    installed = Installed(environment, _unrelated_folder(tmp_path))

    _try_commands(installed, tiny_model, picture, module=False)
    target = tmp_path / "tiny.onnx"
    converted = installed.run("convert", tiny_model, "--output", target)
    assert (converted.returncode, converted.stdout) == (0, f"{target}\n"), converted.stderr
    measured = installed.run(
        "bench", tiny_model, "--rounds", "1", "--seconds", "1", "--engines", "openvino,onnxruntime",
        "--precisions", "fp32", "--json",
    )  # fmt: skip
    assert measured.returncode == 0, measured.stderr
    assert {row["engine"] for row in json.loads(measured.stdout)} == {"openvino", "onnxruntime"}
    config = tmp_path / "models.yaml"
    config.write_text(S3)
    refused = installed.run("provision", "--store", tmp_path / "store", "--config", config)
    assert refused.returncode == 1
    assert "s3://b/k.cfg: needs boto3, which is not installed here: pip" in refused.stdout


@pytest.mark.long
def test_the_client_needs_its_own_extra_only(
    wheel: Path, demo_stack: Stack, tmp_path: Path
) -> None:
    """In an empty environment: no numpy, no engine."""
    environment = tmp_path / "venv"
    venv.create(environment)
    python = environment / "bin" / "python"
    lock = ROOT / "locks" / "client.txt"
    _pip("--python", python, "install", "--require-hashes", "--only-binary", ":all:", "-r", lock)
    _pip("--python", python, "install", "--no-index", f"{wheel}[client]")
    scene = ROOT / "client" / "images" / "scene-01.jpg"
    code = (
        "from elastic_yolo.client import Client\n"
        f"print(Client({demo_stack.web.url!r}).detect({str(scene)!r}).detections[0].label)"
    )

    ended = subprocess.run(
        [python, "-I", "-c", code], cwd="/", capture_output=True, text=True, check=False
    )

    assert (ended.returncode, ended.stdout) == (0, "airplane\n"), ended.stderr


def _try_commands(installed: Installed, model: Path, picture: Path, *, module: bool) -> None:
    found = installed.run("detect", "--model", model, "--json", picture, module=module)
    assert found.returncode == 0, found.stderr
    ((label, score, _),) = json.loads(found.stdout)["data"]
    assert (label, score) == ("square", pytest.approx(SCORE, abs=1e-5))

    verified = installed.run("verify", model, "--json", module=module)
    assert verified.returncode == 0, verified.stderr
    checks = {check["name"]: check["passed"] for check in json.loads(verified.stdout)}
    assert checks["files"] is checks["digest"] is checks["engine"] is True

    manifest = installed.folder / "pod.yaml"
    manifest.write_text(MANIFEST)
    examined = installed.run("doctor", "--json", manifest, module=module)
    assert examined.returncode == 0, examined.stderr
    assert {finding["code"] for finding in json.loads(examined.stdout)["findings"]} == {"IMG01"}

    listed = installed.run("models", "list", module=module)
    assert listed.returncode == 0, listed.stderr
    assert [line.split()[0] for line in listed.stdout.splitlines()[1:]] == zoo_names()

    simulated = installed.run("hpa-lab", "--simulate", "--duration", "60", "--json", module=module)
    assert simulated.returncode == 0, simulated.stderr
    tiers = [tier["tier"] for tier in json.loads(simulated.stdout)["tiers"]]
    assert tiers == ["web", "preprocess", "inference"]
    command = ("hpa-lab", "--simulate", "--stream", "--duration", "60", "--json")
    streamed = installed.run(*command, module=module)
    assert streamed.returncode == 0, streamed.stderr
    assert json.loads(streamed.stdout)["tiers"][0]["tier"] == "stream"

    refused = installed.run("serve", model, module=module)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == (
        "elastic-yolo: serve starts the services, whose sources are in the repository only: run it "
        "in a checkout of elastic-yolo, or run the images (docker compose up)\n"
    )


def _unrelated_folder(parent: Path) -> Path:
    """Return a folder whose packages must never be imported."""
    folder = parent / "unrelated"
    for name in ("tools", "services", "detector", "bench", "lab", "cli"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(f"raise ImportError('{name} of the folder')\n")
    return folder


def _site_packages(environment: Path) -> Path:
    (found,) = environment.glob("lib/python*/site-packages")
    return found


def _pip(*arguments: str | Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
