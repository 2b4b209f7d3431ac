"""What the doctor is tried with: two bases without a mistake, and small edits of them.

`tests/doctor/base/shop.yaml` has the manifests of a small application, `base/cluster.yaml` the
objects of a cluster as `kubectl get --output=json` prints them, and `tests/doctor/cases/CODE.yaml`
the cases of one code. A case is a mapping with these keys:

name    what it is about
found   `error` or `warning`: exactly this code is found, with this severity; or `nothing`
base    `shop` (default) or `cluster`
edits   each replaces a text, which stands once in one object, by another:
        {in: Kind/name, replace: old, by: new}; without `by`, it is removed
remove  objects to leave out, as Kind/name
add     further objects, as YAML
line    text of the line that the finding names (shop alone)
says    texts in the finding, as {what: text}, {why: text} or {fix: text}
unread  resources that the cluster does not show (cluster alone)
elsewhere  objects of other namespaces that rules look up, as YAML (cluster alone)
kustomization  in place of base, edits, remove, add: the content of a kustomization.yaml
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from elastic_yolo.doctor.cluster import objects_of
from elastic_yolo.doctor.finding import Finding
from elastic_yolo.doctor.manifest_set import ManifestSet
from elastic_yolo.doctor.manifests import read_text
from elastic_yolo.doctor.rules import diagnose
from elastic_yolo.lab.processes.stack import ROOT

_FOLDER = ROOT / "tests" / "doctor"
_KEYS = set("name found base edits remove add line says unread elsewhere kustomization".split())


@dataclass(frozen=True)
class Case:
    """One case of a code; `body` is what its file says."""

    code: str
    body: dict[str, Any]

    def __post_init__(self) -> None:
        """Refuse a key that nothing reads."""
        assert self.body.keys() <= _KEYS, f"{self}: {self.body.keys() - _KEYS}"
        assert self.body["found"] in ("error", "warning", "nothing"), f"{self}"

    @property
    def base(self) -> str:
        """What it is an edit of: `shop`, `cluster` or `kustomization`."""
        return "kustomization" if "kustomization" in self.body else self.body.get("base", "shop")

    @property
    def found(self) -> set[tuple[str, str]]:
        """The code and severity of what is to be found; empty if nothing is."""
        found = self.body["found"]
        return set() if found == "nothing" else {(self.code, found)}

    @property
    def text(self) -> str:
        """The manifests of the base with its edits."""
        return edited(
            self.base,
            *self.body.get("edits", []),
            remove=self.body.get("remove", []),
            add=self.body.get("add", ""),
        )

    def __str__(self) -> str:
        """Return its code and its name: the identity of its test."""
        return f"{self.code}: {self.body['name']}"


@cache
def all_cases() -> tuple[Case, ...]:
    """Return the cases of all codes."""
    return tuple(
        Case(path.stem, body)
        for path in sorted((_FOLDER / "cases").glob("*.yaml"))
        for body in yaml.safe_load(path.read_text())
    )


@cache
def base(name: str) -> str:
    """Return the text of a base: `shop` or `cluster`."""
    return (_FOLDER / "base" / f"{name}.yaml").read_text()


def edited(
    name: str, *edits: dict[str, str], remove: list[str] | tuple[str, ...] = (), add: str = ""
) -> str:
    """Return a base with some edits; its other objects stay as they are, also in their lines."""
    documents = dict(_named(base(name)))
    for edit in edits:
        assert edit.keys() <= {"in", "replace", "by"}, edit
        documents[edit["in"]] = _replaced(
            documents[edit["in"]], edit["replace"], edit.get("by", "")
        )
    for one in remove:
        del documents[one]
    return "---\n".join([*documents.values(), *([add] if add else [])])


def examine_text(text: str, file: str = "shop.yaml") -> list[Finding]:
    """Return everything that is found in a text of manifests."""
    reading = read_text(text, file)
    return [*reading.findings, *diagnose(ManifestSet(reading.manifests))]


def examine_cluster(text: str, unread: list[str], elsewhere: str = "") -> list[Finding]:
    """Return what is found in a cluster whose objects are written as YAML."""
    here, there = (
        objects_of(as_printed(list(yaml.safe_load_all(one)))) for one in (text, elsewhere)
    )
    return diagnose(ManifestSet(here, live=True, unread=frozenset(unread), elsewhere=tuple(there)))


def cluster_objects() -> dict[str, Any]:
    """Return the objects of the cluster without a mistake, each as Kind/name."""
    return {name: yaml.safe_load(text) for name, text in _named(base("cluster"))}


def as_printed(objects: list[Any]) -> str:
    """Return objects as `kubectl get --output=json` prints them."""
    printed = {"apiVersion": "v1", "items": objects, "kind": "List"}
    return json.dumps(printed | {"metadata": {"resourceVersion": ""}}, indent=4)


def _named(text: str) -> Iterator[tuple[str, str]]:
    for document in text.split("---\n"):
        body = yaml.safe_load(document)
        yield f"{body['kind']}/{body['metadata']['name']}", document


def _replaced(document: str, old: str, new: str) -> str:
    """Replace lines wherever they are indented; the new ones are indented in the same way."""
    first, *_ = lines = old.rstrip("\n").split("\n")
    places = []
    at = document.find(first)
    while at >= 0:
        margin = "\n" + " " * (at - document.rfind("\n", 0, at) - 1)
        if document.startswith(margin.join(lines), at):
            places.append((at, margin))
        at = document.find(first, at + 1)
    assert len(places) == 1, f"{len(places)} times: {old}"
    ((at, margin),) = places
    end = at + len(margin.join(lines))
    return document[:at] + margin.join(new.rstrip("\n").split("\n")) + document[end:]
