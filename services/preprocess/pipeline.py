"""The stages of one picture: file, pixels, network input, detections, boxes in the picture."""

from __future__ import annotations

from dataclasses import dataclass

from elastic_yolo.detector.boxes import Detection, name_detections
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
        header = self.inputs.read_header(data)
        async with self.router.route(context, wanted) as backend:
            model = await backend.find_model(context, wanted.model)
            try:
                place, prediction = await self._predict(context, data, header, model, wanted)
            except RemoteProblem as problem:
                if not problem.is_rejection:
                    raise
                # The cached input format is out of date, or this endpoint serves another version
                # still. Request metadata and prediction from the same endpoint, so that they match.
                model = await backend.refresh_model(context, wanted.model)
                place, prediction = await self._predict(context, data, header, model, wanted)
        try:
            detections = name_detections(place.to_picture(prediction.rows), prediction.labels)
        except LookupError as error:
            raise model.peer.invalid_response() from error
        width, height = header.upright_size
        return Processed(
            detections=detections,
            model=prediction.model,
            version=prediction.version,
            digest=prediction.digest,
            width=width,
            height=height,
        )

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
    ) -> tuple[Placement, Prediction]:
        """Prepare the network's input and send it to the model's back end."""
        planned = self.inputs.plan(context, data, header, model.input_format)
        image = await self.inputs.prepare(context, planned)
        return planned.place, await model.predict(context, image, wanted)
