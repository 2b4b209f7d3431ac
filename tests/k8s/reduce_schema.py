"""Reduce a CustomResourceDefinition (YAML on stdin) to the schemas that the tests need (JSON).

    python -m tests.k8s.reduce_schema VERSION [PATH...] < crd.yaml > schema.json

Descriptions go. Below `spec`, only the properties at the dotted PATHs stay, each as a whole; a PATH
that ends in `.*` keeps the properties of an object that have none of their own.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import yaml

Schema = dict[str, Any]
_KEPT = {
    *("type", "properties", "additionalProperties", "items", "required", "enum", "format"),
    *("anyOf", "oneOf", "pattern", "minimum", "maximum", "minItems", "minLength", "maxLength"),
    *("x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields", "nullable"),
}


def strip(schema: Any) -> Any:
    """Return a schema without what validates nothing."""
    if not isinstance(schema, dict):
        return schema
    found = {key: value for key, value in schema.items() if key in _KEPT}
    if "properties" in found:
        found["properties"] = {name: strip(one) for name, one in found["properties"].items()}
    for key in ("additionalProperties", "items"):
        if key in found:
            found[key] = strip(found[key])
    return found


def keep(schema: Schema, path: list[str]) -> Schema:
    """Return an object's schema with the property at a path only."""
    name, *rest = path
    properties: Schema = schema["properties"]
    if name == "*":
        kept = {key: one for key, one in properties.items() if "properties" not in one}
        return {**schema, "properties": {k: v for k, v in kept.items() if "items" not in v}}
    return {
        **schema,
        "properties": {name: keep(properties[name], rest) if rest else properties[name]},
    }


def merge(first: Schema, second: Schema) -> Schema:
    """Return an object's schema with the properties of both."""
    found = dict(first["properties"])
    for name, one in second["properties"].items():
        both = name in found and "properties" in one and "properties" in found[name]
        found[name] = merge(found[name], one) if both else one
    return {**first, "properties": found}


def main(version: str, *paths: str) -> None:
    """Print the reduced schema."""
    crd = yaml.safe_load(sys.stdin)
    (served,) = (one for one in crd["spec"]["versions"] if one["name"] == version)
    schema = strip(served["schema"]["openAPIV3Schema"])
    spec = schema["properties"]["spec"]
    kept = [keep(spec, path.split(".")) for path in paths] or [spec]
    for one in kept[1:]:
        kept[0] = merge(kept[0], one)
    names = ("apiVersion", "kind", "metadata")
    schema["properties"] = {name: schema["properties"][name] for name in names} | {"spec": kept[0]}
    json.dump(schema, sys.stdout, separators=(",", ":"), sort_keys=True)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
