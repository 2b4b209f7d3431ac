"""kserve's two clients: HTTP_URL, GRPC_ADDRESS, MODEL, FOLDER with pixels.npy and picture.jpg."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig
from kserve.protocol.infer_type import RequestedOutput


class Program:
    """Sends the same requests over HTTP and gRPC."""

    def __init__(self, url: str, address: str, model: str, folder: Path) -> None:
        """Read the picture in both of its forms."""
        self._url = url
        self._address = address
        self._model = model
        self._pixels = np.load(folder / "pixels.npy")
        self._picture = (folder / "picture.jpg").read_bytes()

    async def run(self) -> dict[str, Any]:
        """Return what each request gave, by protocol and name."""
        return {"http": await self._over_http(), "grpc": await self._over_grpc()}

    async def _over_http(self) -> dict[str, Any]:
        async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
            infer = {
                name: _read(await client.infer(self._url, request, self._model))
                for name, request in self._requests(0.99).items()
            }
            return {
                "live": await client.is_server_live(self._url),
                "ready": await client.is_server_ready(self._url),
                "model_ready": await client.is_model_ready(self._url, self._model),
                "absent_ready": await client.is_model_ready(self._url, "absent"),
                "infer": infer,
            }

    async def _over_grpc(self) -> dict[str, Any]:
        async with InferenceGRPCClient(self._address) as client:
            infer = {
                name: _read(await client.infer(request))
                for name, request in self._requests("0.99").items()
            }
            return {
                "live": await client.is_server_live(),
                "ready": await client.is_server_ready(),
                "model_ready": await client.is_model_ready(self._model),
                "infer": infer,
            }

    def _requests(self, threshold: float | str) -> dict[str, InferRequest]:
        """Return the requests; over gRPC this client takes no fractions as parameters."""
        picture = np.array([self._picture], dtype=object)
        return {
            "binary": self._request(self._pixels, binary=True),
            "numbers": self._request(self._pixels, binary=False),
            "outputs": self._request(self._pixels, binary=True, outputs=["counts"]),
            "threshold": self._request(
                self._pixels, binary=True, parameters={"threshold": threshold}
            ),
            "picture": self._request(picture, binary=True),
        }

    def _request(
        self,
        array: np.ndarray,
        *,
        binary: bool,
        outputs: list[str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> InferRequest:
        tensor = InferInput("images", list(array.shape), "BYTES" if array.ndim == 1 else "UINT8")
        tensor.set_data_from_numpy(array, binary_data=binary)
        return InferRequest(
            self._model,
            [tensor],
            request_id="seven",
            parameters=parameters,
            request_outputs=[RequestedOutput(name) for name in outputs or ()] or None,
        )


def _read(response: Any) -> dict[str, Any]:
    found = {output.name: output.as_numpy().tolist() for output in response.outputs}
    return {"id": response.id, "model": response.model_name, **found}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(Program(*sys.argv[1:4], Path(sys.argv[4])).run())))
