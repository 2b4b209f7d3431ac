"""Manifests as `kubectl apply -k` would send them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from elastic_yolo.doctor.sources import find_kubectl
from elastic_yolo.lab.processes.stack import ROOT

K8S = ROOT / "k8s"
TOOLS = ROOT / ".venv-k8s" / "bin"
OVERLAYS = sorted(path.name for path in (K8S / "overlays").iterdir())
COMPONENTS = sorted(path.name for path in (K8S / "components").iterdir())
ALTERNATIVES = ("keda", "scale-to-zero")
"""Components of which at most one may be used."""

Manifest = dict[str, Any]


def require_tools() -> None:
    """Skip the test where the checkers of manifests are not installed."""
    if not (TOOLS / "kubectl").exists():
        pytest.skip("manifests cannot be checked: run `make k8s-tools`")


def require_kubectl() -> list[str | Path]:
    """Return the command of the pinned kubectl or of another one; skips the test without any."""
    own = TOOLS / "kubectl"
    found = [own] if own.exists() else find_kubectl()
    if found is None:
        pytest.skip("kubectl is not installed: run `make k8s-tools`")
    return [*found]


def render(folder: Path) -> str:
    """Return all manifests of a kustomization."""
    done = subprocess.run(
        [*require_kubectl(), "kustomize", folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def render_overlay(name: str) -> str:
    """Return all manifests of an overlay; rendered once in a process."""
    return render(K8S / "overlays" / name)


def render_with(components: list[str], folder: Path) -> str:
    """Return the base with some components, put together in an empty folder."""
    used = [os.path.relpath(K8S / "components" / name, folder) for name in components]
    stated = {"resources": [os.path.relpath(K8S / "base", folder)], "components": used}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(stated))
    return render(folder)


def parse(text: str) -> list[Manifest]:
    """Return the manifests of a rendered text."""
    return [manifest for manifest in yaml.safe_load_all(text) if manifest]


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    """Return those of some kinds."""
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def name_of(manifest: Manifest) -> str:
    """Return a manifest's name."""
    return str(manifest["metadata"]["name"])


def pod_templates(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Yield the name and the pod template of everything that makes pods."""
    for manifest in of_kind(manifests, "Deployment", "StatefulSet", "Job"):
        yield name_of(manifest), manifest["spec"]["template"]
    for manifest in of_kind(manifests, "CronJob"):
        yield name_of(manifest), manifest["spec"]["jobTemplate"]["spec"]["template"]


def matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Tell whether a selector, of either form, chooses what has these labels."""
    if "matchLabels" not in selector and "matchExpressions" not in selector:
        wanted, expressions = selector, []
    else:
        wanted = selector.get("matchLabels", {})
        expressions = selector.get("matchExpressions", [])
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        labels.get(one["key"]) in one["values"] for one in expressions
    )
