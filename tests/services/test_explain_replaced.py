"""An explanation is of one version of a model: while it runs, another one may answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from elastic_yolo.detector.boxes import InputFormat
from elastic_yolo.detector.placement import Placement
from services.common.core.explain_query import ExplainQuery
from services.common.core.probes import Phase, Readiness
from services.common.observe.telemetry import Metrics
from services.common.request.context import Deadline, RequestContext
from services.common.request.errors import Unavailable
from services.preprocess.explaining.explainer import Explainer
from services.preprocess.explaining.metrics import ExplainMetrics
from services.preprocess.inference_client import DetectionRequest, Prediction
from services.preprocess.pipeline import Predicted

pytestmark = pytest.mark.anyio

SIDE = 64


def prediction(digest: str) -> Prediction:
    """Return one box in the middle."""
    rows = np.array([[16, 16, 48, 48, 0.9, 0]], np.float32)
    return Prediction(rows, {0: "cat"}, "m", "1", digest)


class Replaced:
    """A pipeline and a model that answers as the next version after 20 masks."""

    def __init__(self, later: str) -> None:
        """Answer with digest `later` then."""
        self.inputs = SimpleNamespace(queue=SimpleNamespace(load=SimpleNamespace(waiting=0)))
        self._later = later
        self._answers = 0

    @asynccontextmanager
    async def predict(self, *_: object) -> AsyncIterator[Predicted]:
        """See Pipeline.predict."""
        place = Placement.fit((SIDE, SIDE), InputFormat((SIDE, SIDE), "stretch"))
        image = np.zeros((SIDE, SIDE, 3), np.uint8)
        header: Any = SimpleNamespace(upright_size=(SIDE, SIDE))
        model: Any = SimpleNamespace(predict=self._weigh)
        yield Predicted(model, header, place, image, prediction("first"))

    async def _weigh(self, *_: object) -> Prediction:
        self._answers += 1
        return prediction("first" if self._answers <= 20 else self._later)


async def masks_with(later: str) -> int:
    pipeline: Any = Replaced(later)
    readiness = Readiness()
    readiness.begin(Phase.SERVING)
    explainer = Explainer(pipeline, ExplainMetrics(Metrics("preprocess")), readiness)
    query = ExplainQuery((32.0, 32.0, 32.0, 32.0), "cat", None, 60, 0)
    try:
        context = RequestContext("0" * 32, Deadline.after_ms(60_000))
        wanted = DetectionRequest(model=None, headers={})
        return (await explainer.explain(context, b"", query, wanted)).masks
    finally:
        explainer.close()


async def test_the_same_version_explains() -> None:
    assert await masks_with("first") == 60


async def test_an_explanation_of_two_versions_is_refused() -> None:
    """The next one may have other labels at the same numbers."""
    with pytest.raises(Unavailable, match="the model was replaced"):
        await masks_with("second")
