"""An MLServer runtime that runs an ONNX file by onnxruntime.

Its tensors are those of the file, as a runtime for any network would have them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput
from mlserver.utils import get_model_uri

_KINDS = {"UINT8": np.uint8, "FP32": np.float32}


class RawHeads(MLModel):  # type: ignore[misc]  # MLServer is in another environment
    """Runs the network of model-settings.json's `uri`."""

    async def load(self) -> bool:
        """Load the file."""
        path = await get_model_uri(self._settings)
        self._session: Any = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Run the network on the one input, and return the outputs that were asked for."""
        (tensor,) = payload.inputs
        pixels = np.array(tensor.data.root, _KINDS[tensor.datatype]).reshape(tensor.shape)
        asked = [output.name for output in payload.outputs or ()]
        names = asked or [output.name for output in self._session.get_outputs()]
        results = self._session.run(names, {tensor.name: pixels})
        return InferenceResponse(
            model_name=self.name,
            model_version=self.version,
            outputs=[
                ResponseOutput(
                    name=name,
                    shape=list(values.shape),
                    datatype="FP32",
                    data=values.ravel().tolist(),
                )
                for name, values in zip(names, results, strict=True)
            ],
        )
