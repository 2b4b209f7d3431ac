"""The detector library: reads Darknet model files, runs them in an engine, returns boxes.

It knows no HTTP and no settings. Its public names are

    from elastic_yolo.detector import Detector, EngineOptions, load_detector
"""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from elastic_yolo.extras import naming_extra

if TYPE_CHECKING:
    from elastic_yolo.detector.detector import Detector
    from elastic_yolo.detector.engines.choose import EngineOptions
    from elastic_yolo.detector.loading import load_detector

__all__ = ["Detector", "EngineOptions", "load_detector"]

# Both runtimes send telemetry to their vendors unless it is disabled before they are imported, and
# keep an identity for it in the home directory. openvino reports every import; onnxruntime, from
# 1.29 on, also names and digests of models. See docs/decisions/010-nothing-reports-home.md.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # as if not installed
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_DEFINED_IN = {
    "Detector": "detector",
    "EngineOptions": "engines.choose",
    "load_detector": "loading",
}


def __getattr__(name: str) -> Any:
    # Imported on first use: preprocess imports no engine, and its image has none.
    if name not in _DEFINED_IN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with naming_extra(__name__, "detect"):
        return getattr(import_module(f"{__name__}.{_DEFINED_IN[name]}"), name)
