"""Several models for one picture, with their detections merged into one list."""

from __future__ import annotations

import asyncio
import hashlib
import re
from dataclasses import replace

from elastic_yolo.detector.fusion import fuse
from services.common.request.context import RequestContext
from services.common.request.errors import ParameterOutOfRange
from services.preprocess.pipeline import ENSEMBLE_PREFIX, DetectionRequest, Pipeline, Processed

# Each model costs as much as a request of its own.
_MAX_MODELS = 4
# The best detections of each model: a threshold of 0 yields thousands, and fusion compares each
# with all others.
_MAX_DETECTIONS = 300


async def process_ensemble(
    pipeline: Pipeline, context: RequestContext, data: bytes, wanted: DetectionRequest
) -> Processed:
    """Detect the objects in a picture file with the models of `ensemble:a+b`.

    Raises what `Pipeline.process_picture` raises, and ParameterOutOfRange for a wrong list.
    """
    names = _split_names(wanted.model or "")
    # A model has two names if a variable MODEL_<NAME>_PATH sets it.
    _require_different([(await pipeline.models.model_info(context, one)).name for one in names])
    tasks = [
        asyncio.create_task(pipeline.process_picture(context, data, replace(wanted, model=name)))
        for name in names
    ]
    try:
        results = await asyncio.gather(*tasks)
    finally:
        # If one fails, the others' results are useless.
        for task in tasks:
            task.cancel()
    best = [result.detections[:_MAX_DETECTIONS] for result in results]
    fused = await pipeline.inputs.queue.run_job(context, lambda: fuse(best))
    digests = "\n".join(result.digest for result in results)
    return replace(
        results[0],
        detections=fused,
        model=ENSEMBLE_PREFIX + "+".join(result.model for result in results),
        version="+".join(result.version for result in results),
        digest="sha256:" + hashlib.sha256(digests.encode()).hexdigest(),
    )


def _split_names(name: str) -> list[str]:
    # An unescaped + in a query is a blank.
    names = re.split("[+ ]", name.removeprefix(ENSEMBLE_PREFIX))
    _require_different(names)
    return names


def _require_different(names: list[str]) -> None:
    if not all(names) or not 2 <= len(set(names)) == len(names) <= _MAX_MODELS:
        raise ParameterOutOfRange(
            f"model: expected 2 to {_MAX_MODELS} different models, like {ENSEMBLE_PREFIX}a+b"
        )
