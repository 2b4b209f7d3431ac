"""Parse untrusted YAML into a pydantic model.

Accepts only scalars, lists and maps; every scalar is text, and the model's fields convert it. Other
features of YAML have been used in attacks and are refused: aliases that multiply, unbounded depth,
tags, dates. So is a name that occurs twice in a map: the parser would drop the first value.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from elastic_yolo.names import nearest_names

M = TypeVar("M", bound=BaseModel)

# In words of YAML: pydantic's name types of Python.
_LIST, _MAP = "expected a list", "expected a map of names and values"
_NUMBER = "expected a number, such as 0.5"
_EXPECTED = {
    "tuple_type": _LIST,
    "list_type": _LIST,
    "dict_type": _MAP,
    "model_type": _MAP,
    "int_parsing": "expected a whole number",
    "float_parsing": _NUMBER,
    "float_type": _NUMBER,
}


class _NameTwice(yaml.MarkedYAMLError):
    """A map has the same name twice."""


class _Loader(yaml.BaseLoader):
    """Loads scalars, lists and maps up to `most_depth` levels, without aliases."""

    most_depth = 0
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node and its children; raises MarkedYAMLError for an alias or excess depth."""
        if self.depth == self.most_depth or self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem_mark=self.get_mark())
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        if isinstance(node, yaml.MappingNode):
            _require_unique_names(node)
        return node


def _require_unique_names(node: yaml.MappingNode) -> None:
    seen: set[str] = set()
    for name, _ in node.value:
        # A list or a map as a name is refused when the map is built.
        if isinstance(name, yaml.ScalarNode):
            if name.value in seen:
                raise _NameTwice(problem_mark=name.start_mark)
            seen.add(name.value)


def parse_strict_yaml(
    kind: type[M],
    text: str,
    *,
    path: Path | str,
    most_depth: int,
    error: type[Exception],
    context: dict[str, Any] | None = None,
) -> M:
    """Return a YAML text as a model of class `kind`; an empty text is an empty map.

    Raises `error` with one line that begins with `path` and names the invalid line or field, but
    never quotes its value. `context` is passed to the model's validators.
    """
    try:
        loader = _Loader(text)
        loader.most_depth = most_depth
        return kind.model_validate(loader.get_single_data() or {}, context=context)
    except ValidationError as reason:
        errors = reason.errors(include_url=False, include_input=False)
        first = errors[0]
        if first["type"] == "missing":
            # It may be there, but misspelt.
            first = next((one for one in errors if one["type"] == "extra_forbidden"), first)
        field = ".".join(str(part) for part in first["loc"]) or "the whole file"
        message = _EXPECTED.get(first["type"], first["msg"]).removeprefix("Value error, ")
        if first["type"] == "too_short":
            limits = first["ctx"]
            message = f"expected at least {limits['min_length']}, found {limits['actual_length']}"
        if first["type"] == "extra_forbidden":
            message = _unknown_field(kind, first["loc"])
        raise error(f"{path}: {field}: {message}") from reason
    except yaml.YAMLError as reason:
        where = getattr(reason, "problem_mark", None)
        line = f":{where.line + 1}" if where else ""
        what = (
            "a name that is there already" if isinstance(reason, _NameTwice) else "not valid YAML"
        )
        raise error(f"{path}{line}: {what}") from reason
    except (ValueError, OverflowError) as reason:
        # PyYAML passes numbers of escapes and directives to chr() and int() unchecked.
        raise error(f"{path}: not valid YAML") from reason


def _unknown_field(kind: type[BaseModel], place: tuple[int | str, ...]) -> str:
    parents: list[type[BaseModel]] = [kind]
    for part in place[:-1]:
        # A number or the key of a map leads to the same models as the list or the map itself.
        fields = [parent.model_fields[part] for parent in parents if part in parent.model_fields]
        parents = [model for field in fields for model in _models_in(field.annotation)] or parents
    known = {
        field.alias or name for parent in parents for name, field in parent.model_fields.items()
    }
    near = nearest_names(str(place[-1]), known)
    return f"unknown field, did you mean {near[0]}?" if near else "unknown field"


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the models in a field's type: in the elements of a list, the values of a map."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]
