"""Reading YAML and JSON into manifests that know the line of each part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import yaml

from elastic_yolo.doctor.api import group_of
from elastic_yolo.doctor.finding import Finding, Place, error, warning
from elastic_yolo.doctor.values import Path, dig, mapping, mappings, text

# Raised by YAML's constructors for values that do not fit their tag, and for documents nested
# deeper than Python's stack.
_NOT_READABLE = (
    yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError,
    RecursionError,
)  # fmt: skip
_LARGEST = 2**63


class _Loader(yaml.SafeLoader):
    """YAML as Kubernetes reads it: integers have 64 bits."""

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Return the number; raises ValueError if it does not fit in 64 bits."""
        value = int(super().construct_yaml_int(node))
        if abs(value) >= _LARGEST:
            raise ValueError(f"line {node.start_mark.line + 1} has an integer of more than 64 bits")
        return value


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


@dataclass(frozen=True, eq=False)
class Manifest:
    """One Kubernetes object. `lines` has the first line of each part of `body`, from 1."""

    body: Mapping[str, Any]
    file: str = ""
    lines: Mapping[Path, int] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Its kind."""
        return text(self.body, "kind")

    @property
    def group(self) -> str:
        """The group of its apiVersion; "" is the core group."""
        return group_of(text(self.body, "apiVersion"))

    @property
    def name(self) -> str:
        """Its name."""
        return text(self.body, "metadata", "name")

    @property
    def namespace(self) -> str:
        """Its namespace; "default" if not set."""
        return text(self.body, "metadata", "namespace") or "default"

    @property
    def owners(self) -> list[tuple[str, str]]:
        """Kind and name of its owners."""
        found = mappings(self.body, "metadata", "ownerReferences")
        return [(text(owner, "kind"), text(owner, "name")) for _, owner in found]

    @property
    def annotations(self) -> dict[Any, Any]:
        """Its annotations."""
        return mapping(self.body, "metadata", "annotations")

    def conditions(self, kind: str) -> list[dict[Any, Any]]:
        """Return its status conditions of one type."""
        found = mappings(self.body, "status", "conditions")
        return [state for _, state in found if text(state, "type") == kind]

    @cached_property
    def spec(self) -> dict[Any, Any]:
        """Its spec."""
        return mapping(self.body, "spec")

    def at(self, *path: str | int) -> Place:
        """Return the place of a part, or of the nearest existing parent."""
        line = 0
        for end in range(len(path), -1, -1):
            if line := self.lines.get(path[:end], 0):
                break
        return Place(
            self.kind, self.name, text(self.body, "metadata", "namespace"), self.file, line
        )

    def get(self, *path: str | int) -> Any:
        """Return the value at a path, or None."""
        return dig(self.body, *path)


@dataclass
class Reading:
    """The manifests of one text, and findings for what could not be read."""

    manifests: list[Manifest] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def read_text(source: str | bytes, file: str, *, with_lines: bool = True) -> Reading:
    """Read all documents of a YAML or JSON text; an unreadable one becomes a finding.

    `with_lines` is false for rendered text, whose lines are in no file.
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
            for found in walk.duplicates:
                place = Place(file=file, line=found[1] if with_lines else 0)
                reading.findings.append(_duplicate_key(place, found[0]))
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
        # Each item of a List becomes a manifest of its own.
        parts.setdefault(key[:2], {})[key[2:]] = at
    for path, item in flatten(body):
        manifest = Manifest(item if isinstance(item, dict) else {}, file, parts.get(path, {}))
        if manifest.kind and text(item, "apiVersion"):
            reading.manifests.append(manifest)
        else:
            reading.findings.append(_incomplete(manifest))


class _Walk:
    """The first line of every part of a document, and the duplicate keys."""

    def __init__(self) -> None:
        self.lines: dict[Path, int] = {}
        self.duplicates: list[tuple[str, int]] = []
        self._seen: set[int] = set()

    def visit(self, node: yaml.Node, path: Path) -> None:
        self.lines.setdefault(path, node.start_mark.line + 1)
        # An alias leads to the same node: a few lines could expand to more than memory holds.
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
                    self.duplicates.append((name, key.start_mark.line + 1))
                keys.add(name)
                self.lines[*path, name] = key.start_mark.line + 1
                self.visit(value, (*path, name))


def _unreadable(source: str | bytes, file: str, problem: Exception) -> Finding:
    mark = getattr(problem, "problem_mark", None)
    place = Place(file=file, line=0 if mark is None else mark.line + 1)
    reason = getattr(problem, "problem", None) or str(problem) or type(problem).__name__
    if isinstance(problem, RecursionError):
        reason = "nested too deeply"
    fix = "Correct it; mostly it is the indentation, a tab, or an unclosed quote."
    if "{{" in str(source):
        fix = "If it is a Helm template: helm template CHART | elastic-yolo doctor -"
    return replace(
        error(
            place,
            f"Invalid YAML: {' '.join(str(reason).split())}.",
            "kubectl rejects the file; the rest of it was not examined.",
            fix,
        ),
        code="YAML01",
    )


def _incomplete(manifest: Manifest) -> Finding:
    return replace(
        error(
            manifest.at(),
            "The document has no kind or no apiVersion.",
            "kubectl rejects it.",
            "Add both, or remove the file if it is not a manifest.",
        ),
        code="YAML02",
    )


def _duplicate_key(place: Place, key: str) -> Finding:
    return replace(
        warning(
            place,
            f"The key {key} occurs twice in one mapping.",
            "The last one wins and the first is lost, or the API server rejects the object.",
            "Merge both under one key.",
        ),
        code="YAML03",
    )
