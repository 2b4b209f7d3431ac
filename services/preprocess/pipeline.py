"""One picture: bytes, pixels, tensor, detections, boxes in the picture."""

from __future__ import annotations

from dataclasses import dataclass, field

from elastic_yolo.detector.boxes import Detection, Image, name_detections
from elastic_yolo.detector.decode import decode
from elastic_yolo.detector.letterbox import Letterbox, draw_letterbox
from elastic_yolo.picture.header import PictureHeader, check_pixels, read_header
from services.common.peer import Peer
from services.common.queue.work_queue import WorkQueue
from services.common.request.context import RequestContext
from services.common.request.errors import RemoteProblem
from services.preprocess.models import ModelDirectory, ModelInfo
from services.preprocess.tensors import Inferred, infer


@dataclass(frozen=True)
class DetectionRequest:
    """What a caller wants of a picture; without `model` the default one, in any version."""

    model: str | None = None
    version: str | None = None
    parameters: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Processed:
    """What was found in a picture, by which model; sizes in pixels of the upright picture."""

    detections: list[Detection]
    model: str
    version: str
    digest: str
    width: int
    height: int


@dataclass(frozen=True)
class Pipeline:
    """The way of a picture through this service."""

    inference: Peer
    models: ModelDirectory
    decoding: WorkQueue
    max_pixels: int
    exact: bool

    async def process(
        self, context: RequestContext, data: bytes, asked: DetectionRequest
    ) -> Processed:
        """Detect the objects in a picture file.

        Raises PictureError for the picture, ServiceError for everything else.
        """
        header = read_header(data)
        check_pixels(header, self.max_pixels)
        info = await self.models.get(context, asked.model)
        try:
            box, answer = await self._infer(context, data, header, info, asked, self.inference)
        except RemoteProblem as problem:
            if not problem.is_rejection:
                raise
            # The model has been replaced by one with another input since we asked, or not yet by
            # that process. One that has just said what it takes will take it.
            inference = self.inference.with_affinity()
            info = await self.models.ask_again(context, asked.model, inference)
            box, answer = await self._infer(context, data, header, info, asked, inference)
        try:
            detections = name_detections(box.to_picture(answer.found), answer.labels)
        except LookupError as error:
            raise self.inference.invalid_response() from error
        width, height = header.upright_size
        return Processed(
            detections=detections,
            model=answer.model,
            version=answer.version,
            digest=answer.digest,
            width=width,
            height=height,
        )

    async def _infer(
        self,
        context: RequestContext,
        data: bytes,
        header: PictureHeader,
        info: ModelInfo,
        asked: DetectionRequest,
        inference: Peer,
    ) -> tuple[Letterbox, Inferred]:
        box = Letterbox.fit(header.upright_size, info.network_size)

        def prepare() -> Image:
            with context.timings.measure("decode"):
                pixels = decode(data, header, None if self.exact else box.inner)
            with context.timings.measure("letterbox"):
                return draw_letterbox(pixels, header.orientation, box, exact=self.exact)

        image = await self.decoding.run(context, prepare)
        path = f"/v2/models/{info.name}"
        if asked.version is not None:
            path += f"/versions/{asked.version}"
        return box, await infer(inference, context, path, image, asked.parameters)
