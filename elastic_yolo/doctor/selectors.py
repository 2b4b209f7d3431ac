"""Matching labels with selectors."""

from __future__ import annotations

from typing import Any

from elastic_yolo.doctor.values import mapping, mappings, strings, text

# Labels that Kubernetes and Argo Rollouts add to pods; no template has them.
ADDED = frozenset(
    """
    pod-template-hash controller-revision-hash statefulset.kubernetes.io/pod-name
    apps.kubernetes.io/pod-index job-name controller-uid batch.kubernetes.io/job-name
    batch.kubernetes.io/controller-uid batch.kubernetes.io/job-completion-index
    rollouts-pod-template-hash
    """.split()
)


def selects(selector: Any, labels: dict[Any, Any]) -> bool:
    """Return whether a selector matches a pod with these labels.

    It is a LabelSelector with matchLabels and matchExpressions, or a Service's plain mapping. An
    empty one matches every pod, as in a NetworkPolicy.
    """
    stated = mapping(selector)
    if "matchLabels" in stated or "matchExpressions" in stated:
        wanted = mapping(stated, "matchLabels")
        expressions = [one for _, one in mappings(stated, "matchExpressions")]
    else:
        wanted, expressions = stated, []
    return all(
        labels.get(key) == value for key, value in wanted.items() if key not in ADDED
    ) and all(_holds(one, labels) for one in expressions)


def is_by_added_labels(selector: Any) -> bool:
    """Return whether a selector has labels that Kubernetes adds, which `selects` ignores.

    Such a selector may match only some pods of a template.
    """
    stated = mapping(selector)
    keys = {*stated, *mapping(stated, "matchLabels")}
    keys |= {text(one, "key") for _, one in mappings(stated, "matchExpressions")}
    return not ADDED.isdisjoint(keys)


def label_values(selector: Any) -> set[str]:
    """Return the values that a selector asks for."""
    stated = mapping(selector)
    plain = [*stated.values(), *mapping(stated, "matchLabels").values()]
    listed = [strings(one, "values") for _, one in mappings(stated, "matchExpressions")]
    return {value for value in plain if isinstance(value, str)} | {
        value for values in listed for value in values
    }


def _holds(expression: dict[Any, Any], labels: dict[Any, Any]) -> bool:
    key, values = text(expression, "key"), strings(expression, "values")
    if key in ADDED:
        return True
    match text(expression, "operator"):
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case _:
            return False


def show(selector: Any) -> str:
    """Return a selector in the form of kubectl's --selector."""
    stated = mapping(selector)
    plain = mapping(stated, "matchLabels") or {
        key: value
        for key, value in stated.items()
        if key not in ("matchLabels", "matchExpressions")
    }
    parts = [f"{key}={value}" for key, value in plain.items()]
    for _, one in mappings(stated, "matchExpressions"):
        operator, values = text(one, "operator"), strings(one, "values")
        several = f" ({', '.join(values)})" if values else ""
        parts.append(f"{text(one, 'key')} {operator.lower()}{several}")
    return ", ".join(parts) or "everything"
