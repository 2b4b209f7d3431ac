"""The warning events of an object of a cluster."""

from __future__ import annotations

from elastic_yolo.doctor.manifest_set import ManifestSet
from elastic_yolo.doctor.manifests import Manifest
from elastic_yolo.doctor.values import text


def last_warning(manifests: ManifestSet, one: Manifest, *reasons: str) -> str:
    """Return the message of the latest Warning event, of some reasons or of any; "" without one."""
    found = [
        event
        for event in manifests.of_kind("Event")
        if _about(event, one)
        and text(event.body, "type") == "Warning"
        and (not reasons or text(event.body, "reason") in reasons)
    ]
    latest = max(found, key=_moment, default=None)
    return "" if latest is None else " ".join(text(latest.body, "message").split())


def _about(event: Manifest, one: Manifest) -> bool:
    # The field is `regarding` in events.k8s.io/v1.
    for key in ("involvedObject", "regarding"):
        kind, name = text(event.body, key, "kind"), text(event.body, key, "name")
        if (kind, name) == (one.kind, one.name):
            return text(event.body, key, "namespace") in ("", one.namespace)
    return False


def _moment(event: Manifest) -> str:
    """Return the time of the last occurrence; RFC 3339 strings sort by time."""
    moments = (
        text(event.body, "lastTimestamp"),
        text(event.body, "series", "lastObservedTime"),
        text(event.body, "eventTime"),
        text(event.body, "metadata", "creationTimestamp"),
    )
    return next((one for one in moments if one), "")
