"""Darknet files in, boxes out: no HTTP, no settings, usable alone.

`from elastic_yolo.detector import Detector, EngineOptions, load_detector`
"""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elastic_yolo.detector.detector import Detector
    from elastic_yolo.detector.engines.choose import EngineOptions
    from elastic_yolo.detector.loading import load_detector

__all__ = ["Detector", "EngineOptions", "load_detector"]

# Both runtimes report to their vendors over the network, unless they are told not to before they
# are imported, and keep an identity in the home directory for that: openvino each of its imports,
# onnxruntime from 1.29 on also names and digests of models. Nobody here has agreed to that.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # as if not installed
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_DEFINED_IN = {
    "Detector": "detector",
    "EngineOptions": "engines.choose",
    "load_detector": "loading",
}


def __getattr__(name: str) -> Any:
    # Imported on first use: preprocess takes the letterbox from here, and its image has no engine.
    if name not in _DEFINED_IN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_DEFINED_IN[name]}"), name)
