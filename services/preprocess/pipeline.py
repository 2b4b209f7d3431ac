"""One picture: bytes, pixels, tensor, detections, boxes in the picture."""

from __future__ import annotations

from dataclasses import dataclass

from detector.boxes import Detection, Image, name_detections
from detector.decode import decode
from detector.letterbox import Letterbox, draw_letterbox
from picture.header import PictureHeader, check_pixels, read_header
from services.common.context import RequestContext
from services.common.errors import RemoteProblem
from services.common.peers import Peer
from services.common.work_queue import WorkQueue
from services.preprocess.models import ModelDirectory, ModelInfo
from services.preprocess.tensors import Inferred, infer


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
        self,
        context: RequestContext,
        data: bytes,
        model: str | None,
        parameters: dict[str, float],
    ) -> Processed:
        """Detect the objects in a picture file.

        Raises PictureError for the picture, ServiceError for everything else.
        """
        header = read_header(data)
        check_pixels(header, self.max_pixels)
        info = await self.models.get(context, model)
        try:
            box, answer = await self._infer(context, data, header, info, parameters)
        except RemoteProblem as problem:
            if not problem.is_rejection:
                raise
            # The model may have been replaced by one with another input since we asked.
            self.models.forget(model)
            current = await self.models.get(context, model)
            if current == info:
                raise
            info = current
            box, answer = await self._infer(context, data, header, info, parameters)
        if answer.digest != info.digest:
            self.models.forget(model)
            info = await self.models.get(context, model)
        width, height = header.upright_size
        return Processed(
            detections=name_detections(box.to_picture(answer.found), info.labels),
            model=info.name,
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
        parameters: dict[str, float],
    ) -> tuple[Letterbox, Inferred]:
        box = Letterbox.fit(header.upright_size, info.network_size)

        def prepare() -> Image:
            with context.timings.measure("decode"):
                pixels = decode(data, header, None if self.exact else box.inner)
            with context.timings.measure("letterbox"):
                return draw_letterbox(pixels, header.orientation, box, exact=self.exact)

        image = await self.decoding.run(context, prepare)
        return box, await infer(self.inference, context, info, image, parameters)
