"""How long a container still serves, and may take to end, after SIGTERM."""

from __future__ import annotations

import re

from elastic_yolo.doctor.manifest_set import ManifestSet
from elastic_yolo.doctor.values import mapping, seconds, strings, whole
from elastic_yolo.doctor.workload import Container, options_of

# The defaults of services/common/core/settings.py; a test compares them.
DRAIN_DEFAULTS_S = {"DRAIN_DELAY_S": 0.0, "DRAIN_TIMEOUT_S": 25.0}
# The default of elastic_yolo/cli/stream.py; a test compares it.
STREAM_DRAIN_S = 30.0
_SERVICE = re.compile(r"(^|/)elastic-yolo/(web|preprocess|inference(-gpu)?)([:@]|$)")
_STREAM = re.compile(r"(^|/)elastic-yolo/stream([:@]|$)")
_SLEEP = re.compile(r"(?:^|[\s/;&])sleep\s+(\d{1,6}(?:\.\d{1,6})?)([smh]?)(?:$|[\s;&])")
_UNIT_S = {"": 1, "s": 1, "m": 60, "h": 3600}
_LONGEST_S = 10**6


def is_service(container: Container) -> bool:
    """Return whether a container runs one of this project's services."""
    return _SERVICE.search(container.image) is not None


def is_stream(container: Container) -> bool:
    """Return whether a container runs this project's stream consumer."""
    return _STREAM.search(container.image) is not None


def pre_stop_s(container: Container) -> float:
    """Return the seconds that the preStop hook sleeps: the container still serves."""
    hook = mapping(container.body, "lifecycle", "preStop")
    slept = whole(hook, "sleep", "seconds")
    if slept is not None:
        return float(min(max(0, slept), _LONGEST_S))
    command = " ".join(strings(hook, "exec", "command"))
    return sum(float(number) * _UNIT_S[unit] for number, unit in _SLEEP.findall(command))


def drain_s(manifests: ManifestSet, container: Container) -> float:
    """Return the seconds that a drain may take after SIGTERM: delay and timeout together."""
    if is_stream(container):
        timeout = options_of(container).get("--drain-timeout", STREAM_DRAIN_S)
        return max(0.0, seconds(timeout) or 0.0)
    return sum(_stated(manifests, container, name) for name in DRAIN_DEFAULTS_S)


def still_serves_s(manifests: ManifestSet, container: Container) -> float:
    """Return the seconds from the deletion of a pod for which it accepts new connections."""
    delay = _stated(manifests, container, "DRAIN_DELAY_S")
    return min(pre_stop_s(container) + delay, _LONGEST_S)


def _stated(manifests: ManifestSet, container: Container, name: str) -> float:
    stated = manifests.environment(container)
    if not is_service(container) and not DRAIN_DEFAULTS_S.keys() & stated.keys():
        return 0.0
    value = seconds(stated.get(name))
    return DRAIN_DEFAULTS_S[name] if value is None else max(0.0, value)
