"""Darknet files in, boxes out: no HTTP, no settings, usable alone."""

import os
import sys

# Both runtimes report to their vendors over the network, unless they are told not to before they
# are imported, and keep an identity in the home directory for that: openvino each of its imports,
# onnxruntime from 1.29 on also names and digests of models. Nobody here has agreed to that.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # as if not installed
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
