"""MLServer with exported networks, installed by `make oip-servers`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import pytest

from elastic_yolo.lab.processes.stack import LOOPBACK, ROOT, free_port
from tests.support.waiting import serving

_ROOM = ROOT / ".venv-oip-server"
EXAMPLE = ROOT / "docs" / "examples" / "mlserver"
_RUNTIME = EXAMPLE / "demo" / "raw_heads.py"
_DATATYPES = {onnx.TensorProto.UINT8: "UINT8", onnx.TensorProto.FLOAT: "FP32"}


@contextmanager
def mlserver(folder: Path, networks: Mapping[str, Path], port: int | None = None) -> Iterator[str]:
    """Serve ONNX files by name until the block ends; yields the URL."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, network in networks.items():
        (folder / name).mkdir()
        shutil.copy(_RUNTIME, folder / name)
        described = json.dumps(_describe(name, network))
        (folder / name / "model-settings.json").write_text(described)
    with started(folder, port) as url:
        yield url


@contextmanager
def started(folder: Path, port: int | None = None) -> Iterator[str]:
    """Run MLServer with a folder of models until the block ends; yields the URL."""
    if not (_ROOM / "ready").exists():
        pytest.skip("needs .venv-oip-server, which `make oip-servers` installs")
    port = port or free_port()
    settings = {"debug": False, "host": LOOPBACK, "http_port": port, "grpc_port": free_port(),
                "metrics_port": free_port(), "parallel_workers": 0}  # fmt: skip
    (folder / "settings.json").write_text(json.dumps(settings))
    url = f"http://{LOOPBACK}:{port}"
    command = [_ROOM / "bin" / "mlserver", "start", folder]
    with serving(command, f"{url}/v2/health/ready", folder / "mlserver.log"):
        yield url


def _describe(name: str, network: Path) -> dict[str, Any]:
    """Return the settings of a model, with the tensors of its file as metadata."""
    graph = onnx.load(network).graph

    def tensor(value: onnx.ValueInfoProto) -> dict[str, Any]:
        kind = value.type.tensor_type
        shape = [length.dim_value or -1 for length in kind.shape.dim]
        return {"name": value.name, "datatype": _DATATYPES[kind.elem_type], "shape": shape}

    return {
        "name": name,
        "implementation": "raw_heads.RawHeads",
        "parameters": {"uri": str(network), "version": "v7"},
        "inputs": [tensor(value) for value in graph.input],
        "outputs": [tensor(value) for value in graph.output],
    }
