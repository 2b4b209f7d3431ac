"""The stages of one picture: file, pixels, network input, detections, boxes in the picture."""

from __future__ import annotations

from dataclasses import dataclass, field

from elastic_yolo.detector.boxes import Detection, name_detections
from elastic_yolo.detector.placement import Placement
from elastic_yolo.picture.header import PictureHeader
from services.common.peer import Peer
from services.common.picture_inputs import PictureInputs
from services.common.request.context import RequestContext
from services.common.request.errors import RemoteProblem
from services.preprocess.inference_client import (
    ModelDirectory,
    ModelInfo,
    Prediction,
    request_prediction,
)

ENSEMBLE_PREFIX = "ensemble:"


@dataclass(frozen=True)
class DetectionRequest:
    """The model and the thresholds for a picture; without `model` the default one."""

    model: str | None = None
    version: str | None = None
    parameters: dict[str, float] = field(default_factory=dict)

    @property
    def is_for_ensemble(self) -> bool:
        """Whether several models are to process the picture."""
        return self.model is not None and self.model.startswith(ENSEMBLE_PREFIX)


@dataclass(frozen=True)
class Processed:
    """The detections in a picture and the model that made them; pixels of the upright picture."""

    detections: list[Detection]
    model: str
    version: str
    digest: str
    width: int
    height: int


@dataclass(frozen=True)
class Pipeline:
    """Decodes a picture, has it inferred and maps the boxes back."""

    inference: Peer
    models: ModelDirectory
    inputs: PictureInputs

    async def process_picture(
        self, context: RequestContext, data: bytes, wanted: DetectionRequest
    ) -> Processed:
        """Detect the objects in a picture file with one model.

        Raises PictureError for the picture, ServiceError for everything else.
        """
        header = self.inputs.read_header(data)
        info = await self.models.model_info(context, wanted.model)
        try:
            place, prediction = await self._predict(
                context, data, header, info, wanted, self.inference
            )
        except RemoteProblem as problem:
            if not problem.is_rejection:
                raise
            # The cached input format is out of date, or this endpoint serves another version still.
            # Request metadata and prediction from the same endpoint, so that they match.
            inference = self.inference.with_affinity()
            info = await self.models.refresh_model_info(context, wanted.model, inference)
            place, prediction = await self._predict(context, data, header, info, wanted, inference)
        try:
            detections = name_detections(place.to_picture(prediction.rows), prediction.labels)
        except LookupError as error:
            raise self.inference.invalid_response() from error
        width, height = header.upright_size
        return Processed(
            detections=detections,
            model=prediction.model,
            version=prediction.version,
            digest=prediction.digest,
            width=width,
            height=height,
        )

    async def _predict(
        self,
        context: RequestContext,
        data: bytes,
        header: PictureHeader,
        info: ModelInfo,
        wanted: DetectionRequest,
        inference: Peer,
    ) -> tuple[Placement, Prediction]:
        """Prepare the network's input and send it to the inference service."""
        image, place = await self.inputs.prepare(context, data, header, info.input_format)
        path = f"/v2/models/{info.name}"
        if wanted.version is not None:
            path += f"/versions/{wanted.version}"
        # With the rule, so that no version of another rule responds.
        parameters = {**wanted.parameters, "resize": place.resize}
        prediction = await request_prediction(inference, context, path, image, parameters)
        return place, prediction
