"""tritonclient's whole vocabulary over one protocol: http or grpc, ADDRESS, MODEL, FOLDER.

FOLDER has pixels.npy, the network's input for one picture, and picture.jpg.
"""

from __future__ import annotations

import importlib
import json
import queue
import sys
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.json_format import MessageToDict
from tritonclient.utils import InferenceServerException

TOKEN = {"authorization": "Bearer a long enough token"}


class Program:
    """Sends each kind of request once."""

    def __init__(self, protocol: str, address: str, model: str, folder: Path) -> None:
        """Open the client of a protocol."""
        self._is_http = protocol == "http"
        self._api: Any = importlib.import_module(f"tritonclient.{protocol}")
        self._client = self._api.InferenceServerClient(address)
        self._model = model
        self._pixels = np.load(folder / "pixels.npy")
        self._picture = (folder / "picture.jpg").read_bytes()

    def run(self) -> dict[str, Any]:
        """Return what each request gave, by its name."""
        client, model = self._client, self._model
        before = self._statistics()
        results = {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "model_ready": client.is_model_ready(model, "1"),
            "server": self._json(client.get_server_metadata()),
            "metadata": self._json(client.get_model_metadata(model)),
            "config": self._json(client.get_model_config(model)),
            "index": self._json(client.get_model_repository_index()),
            "infer": self._infers(),
            "errors": self._errors(),
            "async": self._several_at_once(),
        }
        after = self._statistics()
        results["counted"] = int(after["inference_count"]) - int(before["inference_count"])
        client.unload_model(model, headers=TOKEN)
        results["unloaded"] = self._error(self._infer)
        client.load_model(model, headers=TOKEN)
        results["loaded"] = self._infer()
        return results

    def _infers(self) -> dict[str, Any]:
        """Return the results of inference by the form of the request."""
        batch = np.repeat(self._pixels, 2, 0)
        found = {
            "plain": self._infer(request_id="seven"),
            "version": self._infer(model_version="1"),
            "fp32": self._infer(self._pixels.astype(np.float32)),
            "batch": self._infer(batch),
            "threshold": self._infer(parameters={"threshold": 0.99, "unknown": "x"}),
            "counts": self._infer(outputs=["counts"]),
            "swapped": self._infer(outputs=["counts", "detections"]),
            "picture": self._infer(self._file()),
            "pictures": self._infer(self._file(self._picture, self._picture)),
        }
        if self._is_http:
            found["json"] = self._infer(binary=False)
            for algorithm in ("gzip", "deflate"):
                found[algorithm] = self._infer(request_compression_algorithm=algorithm)
        else:
            for algorithm in ("gzip", "deflate"):
                found[algorithm] = self._infer(compression_algorithm=algorithm)
        return found

    def _errors(self) -> dict[str, list[str]]:
        """Return the status and message of each kind of failure."""
        return {
            "model": self._error(lambda: self._infer(model="absent")),
            "version": self._error(lambda: self._infer(model_version="9")),
            "shape": self._error(lambda: self._infer(self._pixels[:, 1:])),
            "output": self._error(lambda: self._infer(outputs=["boxes"])),
            "threshold": self._error(lambda: self._infer(parameters={"threshold": 2.0})),
            "file": self._error(lambda: self._infer(self._file(b"GIF89a"))),
            "config": self._error(lambda: self._client.get_model_config("absent")),
            "token": self._error(lambda: self._client.unload_model(self._model)),
        }

    def _infer(
        self,
        array: np.ndarray | None = None,
        *,
        model: str | None = None,
        outputs: list[str] | None = None,
        binary: bool = True,
        **options: Any,
    ) -> dict[str, Any]:
        inputs, wanted = self._tensors(self._pixels if array is None else array, outputs, binary)
        result = self._client.infer(model or self._model, inputs, outputs=wanted, **options)
        response = self._json(result.get_response())
        names = [output["name"] for output in response["outputs"]]
        return {
            "id": response.get("id", ""),
            "version": response["model_version"],
            **{name: result.as_numpy(name).tolist() for name in names},
        }

    def _several_at_once(self) -> list[list[list[float]]]:
        inputs, _ = self._tensors(self._pixels, None, binary=True)
        if self._is_http:
            pending = [self._client.async_infer(self._model, inputs) for _ in range(4)]
            return [one.get_result().as_numpy("detections").tolist() for one in pending]
        done: queue.Queue[Any] = queue.Queue()
        for _ in range(4):
            self._client.async_infer(
                self._model, inputs, callback=lambda result, error: done.put(error or result)
            )
        return [done.get(timeout=60).as_numpy("detections").tolist() for _ in range(4)]

    def _tensors(self, array: np.ndarray, names: list[str] | None, binary: bool) -> tuple[Any, Any]:
        kinds = {"uint8": "UINT8", "float32": "FP32", "object": "BYTES"}
        tensor = self._api.InferInput("images", list(array.shape), kinds[str(array.dtype)])
        outputs = names if names or binary else ["detections", "counts"]
        if not self._is_http:
            tensor.set_data_from_numpy(array)
            return [tensor], [self._api.InferRequestedOutput(name) for name in outputs or ()]
        tensor.set_data_from_numpy(array, binary_data=binary)
        wanted = [self._api.InferRequestedOutput(name, binary) for name in outputs or ()]
        return [tensor], wanted or None

    def _file(self, *files: bytes) -> np.ndarray:
        return np.array(files or [self._picture], dtype=object)

    def _statistics(self) -> dict[str, Any]:
        found = self._json(self._client.get_inference_statistics(self._model))
        return found["model_stats"][0]

    def _error(self, request: Any) -> list[str]:
        try:
            request()
        except InferenceServerException as error:
            return [str(error.status()), str(error.message())]
        return ["", "no error"]

    def _json(self, found: Any) -> Any:
        """Return a result as JSON, also where it is a message of gRPC."""
        if self._is_http:
            return found
        return MessageToDict(
            found, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )


if __name__ == "__main__":
    print(json.dumps(Program(*sys.argv[1:4], Path(sys.argv[4])).run()))
