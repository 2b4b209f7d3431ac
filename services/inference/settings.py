"""What the inference service can be told."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, model_validator

from elastic_yolo.tiers import PORTS
from services.common.core.settings import ServiceSettings
from services.inference.versions.place import ModelPlace

_FURTHER = re.compile(r"MODEL_[A-Z0-9_]+_PATH")
FURTHER_MODELS = "MODEL_<NAME>_PATH"


class InferenceSettings(ServiceSettings):
    """Environment of the inference service."""

    port: int = Field(PORTS["inference"], ge=0, le=65535)
    """Port to listen on; 0 lets the system choose, and the log says which."""
    model_path: ModelPlace
    """Folder with .cfg, .weights, .names and perhaps model.yaml, or `store:FOLDER/NAME@CHANNEL`."""
    further_models: dict[str, ModelPlace] = Field({}, alias=FURTHER_MODELS)
    """A further model, for requests with its name as `?model=`; as many as there are variables."""
    model_poll_s: float = Field(5.0, ge=0, le=3600)
    """Seconds between two looks at whether a channel has another version; 0 never looks."""
    model_wait_s: float = Field(0.0, ge=0, le=3600)
    """Seconds to wait at the start for a model that is not in the store yet."""
    repository_token: SecretStr | None = Field(None, min_length=16)
    """Who sends it as `Authorization: Bearer` may load and unload models; without it nobody may."""
    custom_metrics: bool = False
    """Whether a model's own metrics.py is run: code that may do all that the service may."""
    engine: Literal["auto", "openvino", "onnxruntime", "darknet"] = "auto"
    """What runs the network; auto takes onnxruntime for CUDA, openvino for the CPU."""
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto"
    """Number format; auto is the fastest within the budget that `elastic-yolo convert` measured."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to run it; auto means CUDA where onnxruntime finds it, and the CPU otherwise."""
    threads: int = Field(0, ge=0, le=1024)
    """Threads of the engine; 0 takes them from the container's CPU quota."""
    streams: int = Field(0, ge=0, le=64)
    """Requests that the engine runs at once under load; 0 means one a thread, but at most 4."""
    cache_dir: Path | None = None
    """Folder for what is made of the model: converted, compiled, measured; safe to delete."""
    max_queue: int = Field(128, ge=1, le=100_000)
    """Requests that may wait for the engine; one more is answered with 429."""
    max_batch: int = Field(16, ge=1, le=1024)
    """Pictures that one request may hold."""

    @model_validator(mode="before")
    @classmethod
    def _find_further_models(cls, stated: dict[str, Any]) -> dict[str, Any]:
        """Gather the variables whose names are not known beforehand."""
        found = {name: place for name, place in os.environ.items() if _FURTHER.fullmatch(name)}
        return {
            **stated,
            FURTHER_MODELS: {name: found[name] for name in sorted(found) if found[name]},
        }

    @property
    def places(self) -> dict[str, ModelPlace]:
        """All models by the variable that names them, the default one first."""
        return {"MODEL_PATH": self.model_path, **self.further_models}
