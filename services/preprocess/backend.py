"""What the pipeline asks of a back end, whichever server it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from elastic_yolo.detector.boxes import Image, InputFormat
from services.common.core.model_list import ModelSummary
from services.common.peer import Peer
from services.common.request.context import RequestContext
from services.preprocess.inference_client import DetectionRequest, Prediction


class RemoteModel(Protocol):
    """A model of a back end, with what its server says of it."""

    @property
    def peer(self) -> Peer:
        """The server, or one endpoint of it."""

    @property
    def name(self) -> str:
        """The name that responses state."""

    @property
    def input_format(self) -> InputFormat:
        """What it requires of its pictures."""

    async def predict(
        self, context: RequestContext, image: Image, wanted: DetectionRequest
    ) -> Prediction:
        """Send one image, (height, width, 3) at network size; raises ServiceError."""


class Backend(Protocol):
    """One server, or several endpoints of one, that run models."""

    @property
    def peer(self) -> Peer:
        """The HTTP client."""

    async def find_model(self, context: RequestContext, name: str | None) -> RemoteModel:
        """Return a model with what is known of it; None is the default one.

        Raises UnknownModel for a name that cannot be one, or what `Peer.send` raises.
        """

    async def refresh_model(self, context: RequestContext, name: str | None) -> RemoteModel:
        """Return a model with what its server says now; raises as above."""

    async def list_names(self, context: RequestContext) -> Sequence[str]:
        """Return the names of its models; what cannot be reached has those of before."""

    async def summarise(self, context: RequestContext, name: str | None) -> ModelSummary:
        """Return what callers may know of a model; None is the default one.

        Raises as `find_model` does.
        """
