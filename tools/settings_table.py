"""Write the environment table of each service's README from its settings: `make docs`."""

from __future__ import annotations

import re

from elastic_yolo.lab.processes.stack import ROOT
from services.common.core.settings import ServiceSettings, variables
from services.inference.settings import InferenceSettings
from services.preprocess.settings import PreprocessSettings
from services.web.settings import WebSettings

KINDS: dict[str, type[ServiceSettings]] = {
    "web": WebSettings,
    "preprocess": PreprocessSettings,
    "inference": InferenceSettings,
}
_TABLE = re.compile(r"\| variable \|.*?(?=\n\n|\Z)", re.DOTALL)


def table(kind: type[ServiceSettings]) -> str:
    """Return the Markdown table of a settings class."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for variable, field in variables(kind).items():
        default = "required" if field.is_required() else _shown(field.default)
        rows.append(f"| `{variable}` | {default} | {field.description} |")
    return "\n".join(rows)


def _shown(default: object) -> str:
    return "none" if default is None or default == {} else f"`{default}`"


def main() -> None:
    """Replace the tables in place."""
    for service, kind in KINDS.items():
        path = ROOT / "services" / service / "README.md"
        text = path.read_text(encoding="utf-8")
        before, after = _TABLE.split(text)
        path.write_text(before + table(kind) + after, encoding="utf-8")


if __name__ == "__main__":
    main()
