"""Several models asked about one picture, and their answers made one."""

from __future__ import annotations

import asyncio
import hashlib
import re
from dataclasses import replace

from elastic_yolo.detector.fusion import fuse
from services.common.request.context import RequestContext
from services.common.request.errors import ParameterOutOfRange
from services.preprocess.pipeline import DetectionRequest, Pipeline, Processed

_PREFIX = "ensemble:"
# Each of them costs as much as a request of its own.
_MOST_MODELS = 4
# Of each, the best ones: a threshold of 0 finds thousands, and each is held against all others.
_MOST_OBJECTS = 300


async def detect(
    pipeline: Pipeline, context: RequestContext, data: bytes, asked: DetectionRequest
) -> Processed:
    """Detect the objects in a picture file: with one model, or with those of `ensemble:a+b`.

    Raises PictureError for the picture, ServiceError for everything else.
    """
    if asked.model is None or not asked.model.startswith(_PREFIX):
        return await pipeline.process(context, data, asked)
    names = _members(asked.model)
    tasks = [
        asyncio.create_task(pipeline.process(context, data, replace(asked, model=name)))
        for name in names
    ]
    try:
        answers = await asyncio.gather(*tasks)
    finally:
        # One that fails makes the others useless.
        for task in tasks:
            task.cancel()
    best = [answer.detections[:_MOST_OBJECTS] for answer in answers]
    found = await pipeline.decoding.run(context, lambda: fuse(best))
    digests = "\n".join(answer.digest for answer in answers)
    return replace(
        answers[0],
        detections=found,
        model=_PREFIX + "+".join(answer.model for answer in answers),
        version="+".join(answer.version for answer in answers),
        digest="sha256:" + hashlib.sha256(digests.encode()).hexdigest(),
    )


def _members(name: str) -> list[str]:
    # A + in a query is a blank, unless somebody has escaped it.
    names = re.split("[+ ]", name.removeprefix(_PREFIX))
    if not all(names) or not 2 <= len(set(names)) == len(names) <= _MOST_MODELS:
        raise ParameterOutOfRange(
            f"model: expected 2 to {_MOST_MODELS} different models, like {_PREFIX}a+b"
        )
    return names
