"""Read a YAML file that a person has written, as one of our pydantic models.

Of YAML only text, lists and maps are taken; the model's fields say what is a number. Everything
else that YAML can be has been an attack: references that multiply, depth without end, tags, dates.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

M = TypeVar("M", bound=BaseModel)


class _Loader(yaml.BaseLoader):
    """Text, lists and maps, no deeper than `most_depth`, and each written out where it is."""

    most_depth = 0
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose one node and those in it; refuses references and depth."""
        if self.depth == self.most_depth or self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem_mark=self.get_mark())
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def parse_stated(
    kind: type[M],
    text: str,
    *,
    path: Path,
    most_depth: int,
    error: type[Exception],
    context: dict[str, Any] | None = None,
) -> M:
    """Return what a YAML text states, an empty one being an empty map.

    Raises `error` with one line that begins with `path` and names the line or the field that is
    wrong, and never what it holds.
    """
    try:
        loader = _Loader(text)
        loader.most_depth = most_depth
        return kind.model_validate(loader.get_single_data() or {}, context=context)
    except ValidationError as reason:
        first = reason.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "all of it"
        raise error(f"{path}: {field}: {first['msg']}") from reason
    except yaml.YAMLError as reason:
        where = getattr(reason, "problem_mark", None)
        line = f":{where.line + 1}" if where else ""
        raise error(f"{path}{line}: not valid YAML") from reason
    except (ValueError, OverflowError) as reason:
        # PyYAML leaves it to chr() and int() to refuse the numbers of an escape or a directive.
        raise error(f"{path}: not valid YAML") from reason
