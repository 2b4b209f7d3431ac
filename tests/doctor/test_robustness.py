"""The doctor does not crash on damaged or arbitrary input."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from elastic_yolo.doctor.manifest_set import ManifestSet
from elastic_yolo.doctor.manifests import Manifest, read_text
from elastic_yolo.doctor.report import as_data, describe
from elastic_yolo.doctor.rules import diagnose
from tests.support.doctor_cases import base
from tests.support.rendered import K8S

ODD: tuple[Any, ...] = (
    None, True, 0, -1, 2**62, 1.5, float("inf"), float("nan"), "", "text", "100%", "1e99", "9" * 50,
    "http://x:99999", [], {}, [[]], [None], {"a": {}}, {1: 2}, [{"name": []}],
)  # fmt: skip
Path = tuple[str | int, ...]


@cache
def originals() -> tuple[Any, ...]:
    """Return the manifests of this project and of the base."""
    own = [
        document
        for file in sorted(K8S.rglob("*.yaml"))
        for document in yaml.safe_load_all(file.read_text())
    ]
    return (*own, *yaml.safe_load_all(base("shop")))


def paths(tree: Any, below: Path = ()) -> list[Path]:
    """Return the paths of all parts of a document."""
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree)
    found = []
    for key, value in entries:
        found.append((*below, key))
        if isinstance(value, dict | list):
            found += paths(value, (*below, key))
    return found


@st.composite
def damaged(draw: st.DrawFn) -> list[Any]:
    """Draw all manifests with some parts removed or replaced."""
    documents = list(copy.deepcopy(originals()))
    for _ in range(draw(st.integers(1, 12))):
        place = draw(st.integers(0, len(documents) - 1))
        there = paths(documents[place])
        if not there:
            continue
        *above, last = draw(st.sampled_from(there))
        tree = documents[place]
        for step in above:
            tree = tree[step]
        if draw(st.booleans()):
            # A copy: the next damage may be in this one.
            tree[last] = copy.deepcopy(draw(st.sampled_from(ODD)))
        else:
            del tree[last]
    return documents


def examine(manifests: list[Manifest], *, live: bool) -> None:
    found = diagnose(ManifestSet(manifests, live=live))
    assert describe(found, len(manifests))
    assert all(one["code"] for one in as_data(found, len(manifests))["findings"])


@pytest.mark.long
@settings(deadline=None, max_examples=200)
@given(damaged(), st.booleans())
def test_damaged_manifests_do_not_crash_a_rule(documents: list[Any], live: bool) -> None:
    manifests = [Manifest(one) for one in documents if isinstance(one, dict)]

    examine(manifests, live=live)


@pytest.mark.long
@settings(deadline=None, max_examples=60)
@given(damaged(), st.data())
def test_damaged_text_does_not_crash_the_reader(documents: list[Any], data: st.DataObject) -> None:
    text = yaml.safe_dump_all(documents)
    begin = data.draw(st.integers(0, len(text)))
    inserted = data.draw(st.sampled_from(["\t", "{", "*a", "&a ", "!!int x", "!!binary _", "\0"]))
    reading = read_text(text[:begin] + inserted + text[begin:], "damaged.yaml")

    assert all(one.code.startswith("YAML") for one in reading.findings)
    examine(reading.manifests, live=False)


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_any_bytes_are_read_or_become_a_finding(source: bytes | str) -> None:
    reading = read_text(source, "any")

    examine(reading.manifests, live=False)


@given(
    st.recursive(
        st.sampled_from([one for one in ODD if not isinstance(one, dict | list)]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    """
                    spec metadata template containers name selector resources limits scaleTargetRef
                    targetRef metrics triggers annotations
                    """.split()
                ),
                inner,
                max_size=4,
            )
        ),
    ),
    st.sampled_from(
        """
        Deployment Service HorizontalPodAutoscaler NetworkPolicy Pod CronJob Job Rollout LimitRange
        ScaledObject VerticalPodAutoscaler PodDisruptionBudget CustomResourceDefinition
        """.split()
    ),
)
def test_any_tree_with_a_kind_does_not_crash_a_rule(tree: Any, kind: str) -> None:
    body = {"apiVersion": "v1", "kind": kind, "metadata": tree, "spec": tree, "status": tree}

    examine([Manifest(body)], live=True)
