"""The stages of one picture: file, pixels, network input, detections, boxes in the picture."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from elastic_yolo.detector.boxes import Detection, Image, name_detections
from elastic_yolo.detector.placement import Placement
from elastic_yolo.picture.header import PictureHeader
from services.common.picture_inputs import PictureInputs
from services.common.request.context import RequestContext
from services.common.request.errors import RemoteProblem
from services.preprocess.backend import RemoteModel
from services.preprocess.inference_client import DetectionRequest, Prediction
from services.preprocess.routing.router import Router


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
class Predicted:
    """A picture as the network got it, and what it predicted."""

    model: RemoteModel
    header: PictureHeader
    place: Placement
    image: Image
    """(height, width, 3) uint8 at network size."""
    prediction: Prediction


@dataclass(frozen=True)
class Pipeline:
    """Decodes a picture, has it inferred and maps the boxes back."""

    router: Router
    inputs: PictureInputs

    async def process_picture(
        self, context: RequestContext, data: bytes, wanted: DetectionRequest
    ) -> Processed:
        """Detect the objects in a picture file with one model.

        Raises PictureError for the picture, ServiceError for everything else.
        """
        async with self.predict(context, data, wanted) as predicted:
            prediction = predicted.prediction
        try:
            rows = predicted.place.to_picture(prediction.rows)
            detections = name_detections(rows, prediction.labels)
        except LookupError as error:
            raise predicted.model.peer.invalid_response() from error
        width, height = predicted.header.upright_size
        return Processed(
            detections=detections,
            model=prediction.model,
            version=prediction.version,
            digest=prediction.digest,
            width=width,
            height=height,
        )

    @asynccontextmanager
    async def predict(
        self, context: RequestContext, data: bytes, wanted: DetectionRequest
    ) -> AsyncIterator[Predicted]:
        """Yield a prediction for a picture file; its model stays connected until the block ends.

        Raises PictureError for the picture, ServiceError for everything else.
        """
        header = self.inputs.read_header(data)
        async with self.router.route(context, wanted) as backend:
            model = await backend.find_model(context, wanted.model)
            try:
                predicted = await self._predict(context, data, header, model, wanted)
            except RemoteProblem as problem:
                if not problem.is_rejection:
                    raise
                # The cached input format is out of date, or this endpoint serves another version
                # still. Request metadata and prediction from the same endpoint, so that they match.
                model = await backend.refresh_model(context, wanted.model)
                predicted = await self._predict(context, data, header, model, wanted)
            yield predicted

    async def own_name(self, context: RequestContext, wanted: DetectionRequest) -> str:
        """Return the own name of the model that a request is for; raises ServiceError."""
        async with self.router.route(context, wanted, is_picture=False) as backend:
            return (await backend.find_model(context, wanted.model)).name

    async def _predict(
        self,
        context: RequestContext,
        data: bytes,
        header: PictureHeader,
        model: RemoteModel,
        wanted: DetectionRequest,
    ) -> Predicted:
        """Prepare the network's input and send it to the model's back end."""
        planned = self.inputs.plan(context, data, header, model.input_format)
        image = await self.inputs.prepare(context, planned)
        prediction = await model.predict(context, image, wanted)
        return Predicted(model, header, planned.place, image, prediction)
