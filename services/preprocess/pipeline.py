"""The stages of one picture: file, pixels, network input, detections, boxes in the picture."""

from __future__ import annotations

from dataclasses import dataclass

from elastic_yolo.detector.boxes import Detection, Image, name_detections
from elastic_yolo.detector.decode import decode, decoding_bytes
from elastic_yolo.detector.placement import Placement, draw_input
from elastic_yolo.picture.errors import PictureTooLarge
from elastic_yolo.picture.header import PictureHeader, check_pixels, read_header
from services.common.queue import ByteBudget, WorkQueue
from services.common.request.context import RequestContext
from services.common.request.errors import RemoteProblem
from services.preprocess.backend import RemoteModel
from services.preprocess.inference_client import DetectionRequest, Prediction
from services.preprocess.routing.router import Router

# Memory for the pictures that are being decoded, all together: enough for one of the largest size
# in any common format, see `decoding_bytes`. An attack: a WebP of 2.5 KB has 64 megapixels and
# cannot be decoded smaller; eight at once took more than the memory limit of the pod.
_BYTES_PER_PIXEL = 8


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
    decoding: WorkQueue
    memory: ByteBudget
    """What pictures that are being decoded take, those of `decoding` and of others."""
    max_pixels: int

    async def process_picture(
        self, context: RequestContext, data: bytes, wanted: DetectionRequest
    ) -> Processed:
        """Detect the objects in a picture file with one model.

        Raises PictureError for the picture, ServiceError for everything else.
        """
        header = read_header(data)
        check_pixels(header, self.max_pixels)
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
        """Prepare the network's input in a worker thread and send it to the model's back end."""
        place = Placement.fit(header.upright_size, model.input_format)

        def prepare_input() -> Image:
            with context.timings.measure("decode"):
                pixels = decode(data, header, place.inner)
            # Dashboards and traces use this name, also for a stretched picture.
            with context.timings.measure("letterbox"):
                return draw_input(pixels, header.orientation, place)

        size = decoding_bytes(header, place.inner)
        require_fitting(size, self.memory)
        image = await self.decoding.run_job(context, prepare_input, size)
        return place, await model.predict(context, image, wanted)


def decoding_memory(max_pixels: int) -> ByteBudget:
    """Return the memory of a process that accepts pictures of `max_pixels` pixels."""
    return ByteBudget(_BYTES_PER_PIXEL * max_pixels)


def require_fitting(size: int, memory: ByteBudget) -> None:
    """Raise PictureTooLarge if a picture takes more memory than there is for all."""
    if size > memory.limit:
        raise PictureTooLarge(
            f"the picture takes {size / 1e6:,.0f} MB of memory to decode and to draw, the limit is "
            f"{memory.limit / 1e6:,.0f} MB: send a smaller one, or in another format"
        )
