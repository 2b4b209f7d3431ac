"""GitHub and pre-commit run what `make` runs; a release builds what build_docker.sh builds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in read(path)["jobs"].values() for step in job["steps"]]


def commands(path: Path) -> str:
    return "\n".join(step["run"] for step in steps(path) if "run" in step)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_only_read_unless_a_job_says_more(path: Path) -> None:
    assert read(path)["permissions"] == {"contents": "read"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_has_a_complete_version(path: Path) -> None:
    used = [step["uses"] for step in steps(path) if "uses" in step]

    assert used
    assert [use for use in used if not re.fullmatch(r"[\w-]+/[\w-]+@v\d+\.\d+\.\d+", use)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_run_commands_of_the_repository(path: Path) -> None:
    targets = set(re.findall(r"(?m)^([\w.-]+):", MAKEFILE))
    run = commands(path)

    assert ".ci/run" in run
    assert set(re.findall(r"(?m)^\s*make ([\w-]+)", run)) <= targets


def test_a_release_builds_the_images_of_build_docker_sh() -> None:
    built = dict(
        re.findall(
            r"(?m)^\s*image ([\w-]+) (\S+Dockerfile\S*)",
            commands(ROOT / ".github/workflows/release.yml"),
        )
    )
    script = (ROOT / "build_docker.sh").read_text(encoding="utf-8")
    (names,) = re.findall(r"(?m)^\s+((?:[a-z]+ \| )+[a-z]+)\) images\+=", script)
    special = dict(re.findall(r"(?m)^\s+([a-z]+)\) echo (\S+Dockerfile\S*) ;;", script))
    expected = {
        "inference-gpu" if name == "gpu" else name: special.get(name, f"services/{name}/Dockerfile")
        for name in names.split(" | ")
    }

    assert built == expected
    assert all((ROOT / dockerfile).is_file() for dockerfile in built.values())


def test_every_dockerfile_and_lock_gets_updates() -> None:
    updates = {
        one["package-ecosystem"]: one for one in read(ROOT / ".github/dependabot.yml")["updates"]
    }
    folders = {
        f"/{path.parent.relative_to(ROOT)}"
        for top in ("services", "elastic_yolo", "loadtest")
        for path in (ROOT / top).rglob("Dockerfile*")
    }

    assert set(updates) == {"pip", "docker", "github-actions"}
    assert set(updates["docker"]["directories"]) == folders
    for pattern in updates["pip"]["directories"]:
        assert list(ROOT.glob(pattern.removeprefix("/"))), pattern


def test_pre_commit_runs_the_tools_of_make_lint() -> None:
    (recipe,) = re.findall(r"(?m)^lint:.*\n((?:\t.*\n)+)", MAKEFILE)
    linters = {line.split()[0].replace("$(BIN)/", "") for line in recipe.splitlines()}
    hooks = [
        hook for repo in read(ROOT / ".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]
    ]

    assert {hook["entry"].split()[0] for hook in hooks} == {f".venv/bin/{tool}" for tool in linters}
    assert all(hook["language"] == "system" for hook in hooks)


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")
        if path.name != "config.yml"
    ],
    ids=lambda path: path.name,
)
def test_an_issue_form_has_a_name_and_required_fields(path: Path) -> None:
    form = read(path)

    assert form["name"]
    assert form["description"]
    assert any(field.get("validations", {}).get("required") for field in form["body"])


def test_every_lock_is_described_in_the_readme_of_locks() -> None:
    text = (ROOT / "locks" / "README.md").read_text(encoding="utf-8")

    assert {path.name for path in (ROOT / "locks").glob("*.txt")} <= set(
        re.findall(r"`(\S+\.txt)`", text)
    )
