"""This project's own overlays, alone and with every component."""

from __future__ import annotations

import os
import shutil
from itertools import combinations
from pathlib import Path

import pytest
import yaml

from elastic_yolo.doctor.manifest_set import ManifestSet
from elastic_yolo.doctor.manifests import read_text
from elastic_yolo.doctor.rules import diagnose
from tests.support.rendered import ALTERNATIVES, COMPONENTS, K8S, OVERLAYS, render

USED = [
    *(list(some) for size in (0, 1) for some in combinations(COMPONENTS, size)),
    *([one for one in COMPONENTS if one != other] for other in ALTERNATIVES),
]
# Each overlay alone and each component once are fast; all of them with all are in `make test-all`.
COMBINATIONS = [
    pytest.param(
        overlay,
        components,
        id="+".join([overlay, *components]),
        marks=[pytest.mark.long] if components and overlay != "minikube" else [],
    )
    for overlay in OVERLAYS
    for components in USED
]


def extend(overlay: Path, components: list[str], copy: Path) -> None:
    """Make a copy of an overlay with further components, as docs/deploy-gpu.md says."""
    shutil.copytree(overlay, copy, dirs_exist_ok=True)
    stated = yaml.safe_load((overlay / "kustomization.yaml").read_text())
    there = [(overlay / one).resolve() for one in stated.get("components", [])]
    used = dict.fromkeys([*there, *(K8S / "components" / name for name in components)])
    stated["components"] = [os.path.relpath(path, copy) for path in used]
    stated["resources"] = [
        os.path.relpath((overlay / one).resolve(), copy) for one in stated["resources"]
    ]
    (copy / "kustomization.yaml").write_text(yaml.safe_dump(stated))


@pytest.mark.parametrize(("overlay", "components"), COMBINATIONS)
def test_the_doctor_finds_nothing_in_our_manifests(
    tmp_path: Path, overlay: str, components: list[str]
) -> None:
    extend(K8S / "overlays" / overlay, components, tmp_path)
    reading = read_text(render(tmp_path), overlay)

    assert reading.findings == []
    assert len(reading.manifests) > 30
    assert diagnose(ManifestSet(reading.manifests)) == []
