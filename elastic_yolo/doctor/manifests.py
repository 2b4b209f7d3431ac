"""YAML and JSON to plain objects that know where they stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import yaml

from elastic_yolo.doctor.finding import Finding, Place, error, warning
from elastic_yolo.doctor.values import Path, dig, mapping, mappings, text

# What YAML's constructors raise for values that claim to be of a type and are not, and for
# documents nested deeper than Python's stack.
_NOT_READABLE = (
    yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError,
    RecursionError,
)  # fmt: skip
_LARGEST = 2**63


class _Loader(yaml.SafeLoader):
    """YAML as Kubernetes reads it: whole numbers have 64 bits."""

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Return the number; raises ValueError for one that is too large."""
        value = int(super().construct_yaml_int(node))
        if abs(value) >= _LARGEST:
            raise ValueError(f"line {node.start_mark.line + 1} has a number that is too large")
        return value


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


@dataclass(frozen=True, eq=False)
class Manifest:
    """One object of Kubernetes. `lines` says where the parts of `body` begin, from 1."""

    body: Mapping[str, Any]
    file: str = ""
    lines: Mapping[Path, int] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Its kind."""
        return text(self.body, "kind")

    @property
    def name(self) -> str:
        """Its name."""
        return text(self.body, "metadata", "name")

    @property
    def namespace(self) -> str:
        """Its namespace; "default" where none is stated."""
        return text(self.body, "metadata", "namespace") or "default"

    @property
    def owners(self) -> list[tuple[str, str]]:
        """Kind and name of what made it."""
        found = mappings(self.body, "metadata", "ownerReferences")
        return [(text(owner, "kind"), text(owner, "name")) for _, owner in found]

    def conditions(self, kind: str) -> list[dict[Any, Any]]:
        """Return the conditions of its status that are of a kind."""
        found = mappings(self.body, "status", "conditions")
        return [state for _, state in found if text(state, "type") == kind]

    @cached_property
    def spec(self) -> dict[Any, Any]:
        """Its spec."""
        return mapping(self.body, "spec")

    def at(self, *path: str | int) -> Place:
        """Return where a part of it stands, or what is nearest above that."""
        line = 0
        for end in range(len(path), -1, -1):
            if line := self.lines.get(path[:end], 0):
                break
        return Place(
            self.kind, self.name, text(self.body, "metadata", "namespace"), self.file, line
        )

    def get(self, *path: str | int) -> Any:
        """Return what stands at a path, or None."""
        return dig(self.body, *path)


@dataclass
class Reading:
    """What came of one text: its objects, and what could not be read."""

    manifests: list[Manifest] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def read_text(source: str | bytes, file: str, *, with_lines: bool = True) -> Reading:
    """Read all documents of a YAML or JSON text; what cannot be read becomes a finding.

    `with_lines` is false for a text that nobody has as a file.
    """
    reading = Reading()
    loader: _Loader | None = None
    try:
        loader = _Loader(source if isinstance(source, str) else source.decode("utf-8-sig"))
        while loader.check_node() and (node := loader.get_node()) is not None:
            walk = _Walk()
            walk.visit(node, ())
            body = loader.construct_document(node)
            lines = walk.lines if with_lines else {}
            for found in walk.twice:
                place = Place(file=file, line=found[1] if with_lines else 0)
                reading.findings.append(_twice(place, found[0]))
            _add(reading, body, file, lines)
    except _NOT_READABLE as problem:
        reading.findings.append(_unreadable(source, file, problem))
    finally:
        if loader is not None:
            loader.dispose()
    return reading


def flatten(body: Any) -> Iterator[tuple[Path, Any]]:
    """Yield the objects of a List, or the one object, with the path to each."""
    if not (isinstance(body, dict) and text(body, "kind").endswith("List")):
        yield (), body
        return
    items = body.get("items")
    for place, item in enumerate(items if isinstance(items, list) else []):
        yield ("items", place), item


def _add(reading: Reading, body: Any, file: str, lines: Mapping[Path, int]) -> None:
    if body is None:
        return
    parts: dict[Path, dict[Path, int]] = {(): dict(lines)}
    for key, at in lines.items():
        # Of a List, each item has its own.
        parts.setdefault(key[:2], {})[key[2:]] = at
    for path, item in flatten(body):
        manifest = Manifest(item if isinstance(item, dict) else {}, file, parts.get(path, {}))
        if manifest.kind and text(item, "apiVersion"):
            reading.manifests.append(manifest)
        else:
            reading.findings.append(_no_object(manifest))


class _Walk:
    """Where every part of a document begins, and which keys stand there twice."""

    def __init__(self) -> None:
        self.lines: dict[Path, int] = {}
        self.twice: list[tuple[str, int]] = []
        self._seen: set[int] = set()

    def visit(self, node: yaml.Node, path: Path) -> None:
        self.lines.setdefault(path, node.start_mark.line + 1)
        # Aliases lead to the same node again: a few lines could stand for more than a memory holds.
        if id(node) in self._seen:
            return
        self._seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            for place, entry in enumerate(node.value):
                self.visit(entry, (*path, place))
        elif isinstance(node, yaml.MappingNode):
            keys = set()
            for key, value in node.value:
                name = str(key.value)
                if name in keys and name != "<<":
                    self.twice.append((name, key.start_mark.line + 1))
                keys.add(name)
                self.lines[*path, name] = key.start_mark.line + 1
                self.visit(value, (*path, name))


def _unreadable(source: str | bytes, file: str, problem: Exception) -> Finding:
    mark = getattr(problem, "problem_mark", None)
    place = Place(file=file, line=0 if mark is None else mark.line + 1)
    said = getattr(problem, "problem", None) or str(problem) or type(problem).__name__
    if isinstance(problem, RecursionError):
        said = "nested too deeply"
    fix = "Correct it; mostly it is an indent, a tab, or a quote that is not closed."
    if "{{" in str(source):
        fix = "If it is a template of Helm: helm template CHART | elastic-yolo doctor -"
    return replace(
        error(
            place,
            f"This is no YAML that can be read: {' '.join(str(said).split())}.",
            "kubectl refuses the file, and nothing that follows in it was looked at.",
            fix,
        ),
        code="YAML01",
    )


def _no_object(manifest: Manifest) -> Finding:
    return replace(
        error(
            manifest.at(),
            "This document has no kind, or no apiVersion.",
            "Kubernetes cannot tell what it is, and kubectl refuses it.",
            "Add both, or take the file away if it is no manifest.",
        ),
        code="YAML02",
    )


def _twice(place: Place, key: str) -> Finding:
    return replace(
        warning(
            place,
            f"The key {key} stands twice in one mapping.",
            "The last one counts and the first is lost, or the API server refuses the object.",
            "Put both together under one key.",
        ),
        code="YAML03",
    )
