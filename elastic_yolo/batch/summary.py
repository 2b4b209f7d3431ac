"""The end of a batch in words: counts, rate, and a histogram of the labels."""

from __future__ import annotations

from elastic_yolo.batch.formats import as_utf8
from elastic_yolo.batch.job import MANIFEST, Manifest
from elastic_yolo.progress import counted, describe_seconds

_BAR = 40
_MOST_LABELS = 30


def describe(manifest: Manifest, folder: str) -> str:
    """Return the summary of a finished job, several lines."""
    folder = as_utf8(folder).rstrip("/")
    bad = f", {manifest.errors:,} bad" if manifest.errors else ""
    took = f"{describe_seconds(manifest.seconds)}, {manifest.pictures_per_s:.1f} pictures/s"
    pictures = counted(manifest.pictures, "picture")
    lines = [
        f"{manifest.model['name']} {manifest.model['version']}, {', '.join(manifest.engines)}",
        f"{pictures} in {took}{bad}; {counted(manifest.detections, 'detection')}",
        *histogram(manifest.labels),
        *(
            f"{form}: {_files(folder, names)}"
            for form, names in manifest.files.items()
            if names and (form != "errors" or manifest.errors)
        ),
        f"manifest: {folder}/{MANIFEST}",
    ]
    return "\n".join(lines)


def histogram(labels: dict[str, int]) -> list[str]:
    """Return a line with a bar for each label, the most frequent ones first."""
    shown = sorted(labels.items(), key=lambda item: (-item[1], item[0]))[:_MOST_LABELS]
    if not shown:
        return []
    width = max(len(label) for label, _ in shown)
    digits = len(f"{shown[0][1]:,}")
    lines = [
        f"  {label:<{width}}  {number:>{digits},}  {'#' * max(1, _BAR * number // shown[0][1])}"
        for label, number in shown
    ]
    hidden = len(labels) - len(shown)
    return [*lines, f"  and {counted(hidden, 'more label')}"] if hidden else lines


def _files(folder: str, names: list[str]) -> str:
    first = f"{folder}/{names[0]}"
    return first if len(names) == 1 else f"{first} to {names[-1]}, {len(names):,} files"
