"""Libraries that only some sources need, and that not every installation has."""

from __future__ import annotations

from importlib.util import find_spec

from elastic_yolo.provision.errors import ConfigError


def require_library(module: str, wanted_by: str) -> None:
    """Raise ConfigError if a module is not installed; `wanted_by` begins the message."""
    top = module.partition(".")[0]
    # find_spec raises for a module whose parent does not exist.
    if find_spec(top) is None or find_spec(module) is None:
        raise ConfigError(
            f"{wanted_by}: needs {module}, which is not installed here: "
            "pip install elastic-yolo[provision]"
        )
