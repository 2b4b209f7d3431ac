"""Every rule finds its mistakes, where they are, and nothing in their sound counterparts."""

from __future__ import annotations

from pathlib import Path

import pytest

from elastic_yolo.doctor.finding import Finding
from elastic_yolo.doctor.sources import read_sources
from tests.support.doctor_cases import Case, all_cases, base, examine_cluster, examine_text
from tests.support.rendered import TOOLS, require_tools


def examine(case: Case, folder: Path) -> list[Finding]:
    """Return what is found in the manifests, the cluster or the kustomization of a case."""
    if case.base == "shop":
        return examine_text(case.text)
    if case.base == "cluster":
        body = case.body
        return examine_cluster(case.text, body.get("unread", []), body.get("elsewhere", ""))
    require_tools()
    (folder / "kustomization.yaml").write_text(case.body["kustomization"])
    return read_sources([str(folder)], [str(TOOLS / "kubectl")]).findings


def test_the_bases_have_no_mistake() -> None:
    assert examine_text(base("shop")) == []
    assert examine_cluster(base("cluster"), []) == []


@pytest.mark.parametrize("case", all_cases(), ids=str)
def test_a_case_finds_its_code_and_no_other(case: Case, tmp_path: Path) -> None:
    found = examine(case, tmp_path)

    assert {(one.code, one.severity) for one in found} == case.found
    for one in found:
        assert min(len(one.what), len(one.why), len(one.fix)) > 10
    if case.base == "shop" and found:
        lines = case.text.splitlines()
        assert {one.place.file for one in found} == {"shop.yaml"}
        assert all(1 <= one.place.line <= len(lines) for one in found)
        expected = case.body.get("line", "")
        assert any(expected in lines[one.place.line - 1] for one in found)
    else:
        assert len(found) == len(case.found)
    for said in case.body.get("says", []):
        ((part, text),) = said.items()
        assert any(text in getattr(one, part) for one in found), f"{part}: {text}"
