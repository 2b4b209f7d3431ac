"""Environment variables of the inference service."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import DirectoryPath, Field, SecretStr, model_validator

from elastic_yolo.names import MOST_NAME
from elastic_yolo.tiers import PORTS
from services.common.core.settings import ServiceSettings
from services.inference.versions.model_source import ModelPath

_FURTHER = re.compile(r"MODEL_(.*)_PATH", re.IGNORECASE)
# In small letters, it is a name that requests use.
_NAME = re.compile(rf"[A-Z0-9][A-Z0-9_]{{0,{MOST_NAME - 1}}}")
FURTHER_MODELS = "MODEL_<NAME>_PATH"


class InferenceSettings(ServiceSettings):
    """Environment of the inference service."""

    REMOVED: ClassVar[dict[str, str]] = {
        **ServiceSettings.REMOVED,
        "STREAMS": "under load the engine runs one request per thread, at most 4 at a time",
    }
    INNER_CONNECTIONS: ClassVar[int] = 0

    port: int = Field(PORTS["inference"], ge=0, le=65535)
    """Port to listen on; with 0 the kernel chooses a free port, which is logged."""
    grpc_port: int | None = Field(None, ge=0, le=65535)
    """Port for gRPC, with 0 a free one; if unset, there is no gRPC."""
    # One FP32 request of 16 pictures of 416x416 has 33 MB.
    max_held_bytes: int = Field(40_000_000, ge=1_000)
    """Bytes of request bodies in memory, all requests together; more are refused with 429."""
    model_path: ModelPath
    """Folder with .cfg, .weights, .names, optionally model.yaml; or `store:FOLDER/NAME@CHANNEL`."""
    further_models: dict[str, ModelPath] = Field({}, alias=FURTHER_MODELS)
    """A further model, selected with `?model=` and its own name or NAME; one variable per model."""
    model_poll_s: float = Field(5.0, ge=0, le=3600)
    """Seconds between two polls of a store's channels; 0 disables polling."""
    model_wait_s: float = Field(0.0, ge=0, le=3600)
    """Seconds to wait at startup for a model that is not in the store yet."""
    repository_token: SecretStr | None = Field(None, min_length=16)
    """Bearer token that load and unload requests must carry; if unset, there are no such routes."""
    custom_metrics: bool = False
    """Whether to run the metrics.py of a model folder, in a process of its own: docs/metrics.md."""
    engine: Literal["auto", "openvino", "onnxruntime", "darknet"] = "auto"
    """Engine that runs the network; auto is onnxruntime for CUDA and openvino for the CPU."""
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto"
    """Number format; auto is the fastest measured one within the model's accuracy budget."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device that runs the network; auto is CUDA if onnxruntime finds it, otherwise the CPU."""
    threads: int = Field(0, ge=0, le=1024)
    """Threads of the engine; 0 means one per CPU of the container's quota."""
    cache_dir: Path | None = None
    """Folder for converted and compiled models and measurements; safe to delete."""
    calibration_dir: DirectoryPath | None = None
    """Folder with typical pictures to measure precisions with; if unset, pictures of requests."""
    max_queue: int = Field(128, ge=1, le=100_000)
    """Requests that may be queued for the engine; further ones get status 429."""
    max_batch: int = Field(16, ge=1, le=1024)
    """Pictures that one request may hold."""
    max_pixels: int = Field(64_000_000, ge=1, le=1_000_000_000)
    """Largest picture file, in pixels; all that are decoded at a time share 8 bytes for each."""

    @model_validator(mode="before")
    @classmethod
    def _collect_further_models(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Collect the MODEL_<NAME>_PATH variables, whose names are not fixed."""
        found = {name: path for name, path in sorted(os.environ.items()) if path}
        further = {name: path for name, path in found.items() if _FURTHER.fullmatch(name)}
        for variable in further:
            _check_variable(variable, further)
        return {**given, FURTHER_MODELS: further}

    @model_validator(mode="after")
    def _check_ports(self) -> Self:
        if self.grpc_port and self.grpc_port == self.port:
            raise ValueError(f"GRPC_PORT: {self.port} is PORT as well")
        return self

    @property
    def files_per_caller(self) -> int:
        """As for all services; with gRPC there may be as many connections of its callers."""
        return super().files_per_caller + (self.grpc_port is not None)

    @property
    def model_paths(self) -> dict[str, ModelPath]:
        """All models by the variable that names them, the default model first."""
        return {"MODEL_PATH": self.model_path, **self.further_models}


def _check_variable(variable: str, others: Mapping[str, str]) -> None:
    """Raise ValueError for a variable that nearly names a further model: it would be ignored."""
    name = _FURTHER.sub(r"\1", variable)
    right = variable.upper()
    if right == variable and _NAME.fullmatch(name):
        return
    if right != variable and right in others:
        raise ValueError(f"{variable} and {right}: two variables for one model: remove one")
    raise ValueError(
        f"{variable}: expected at most {MOST_NAME} capital letters, digits and _ in NAME of "
        f"{FURTHER_MODELS}, the first a letter or a digit"
    )
